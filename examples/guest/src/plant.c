/*
 * Leaves a value in registers for a while, so that whoever looks at the host's memory meanwhile can
 * search for it. It is in no memory of the guest's: the registers are the only place.
 */
#include "cpu.h"

#define POST 0x80

void run_plant(u64 value, u64 count)
{
	/* The option's text has it in digits. What is planted is its complement, so that it hasn't. */
	u64 planted = ~value;
	put("plant: the complement of what was given\n");
	asm volatile(
		"mov %0, %%rbx; mov %0, %%r12; mov %0, %%r13; mov %0, %%r14; mov %0, %%r15\n"
		"1: mov $1000, %%ecx\n"
		"2: dec %%ecx; jnz 2b\n"
		"outb %%al, %%dx\n"
		"dec %1; jnz 1b\n"
		"xor %%ebx, %%ebx; xor %%r12d, %%r12d; xor %%r13d, %%r13d; xor %%r14d, %%r14d; xor %%r15d, %%r15d"
		: "+r"(planted), "+S"(count)
		: "a"(0), "d"(POST)
		: "rbx", "rcx", "r12", "r13", "r14", "r15", "memory");
}
