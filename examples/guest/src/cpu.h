/* Single instructions. IN and OUT are sites that patch.c can turn into calls. */
#pragma once

#include "guest.h"

/*
 * Five bytes each, so that a near call fits: the plain instruction and a NOP of the rest. What
 * stands there is listed in .io_sites: its address, and what to call instead.
 */
#define IO_SITE(plain, call) \
	"1: " plain "\n" \
	".pushsection .io_sites, \"a\"\n" \
	".quad 1b, " call "\n" \
	".popsection"
#define NOP3 ".byte 0x0f, 0x1f, 0x00"
#define NOP4 ".byte 0x0f, 0x1f, 0x40, 0x00"

static inline void outb(u16 port, u8 value)
{
	asm volatile(IO_SITE("outb %%al, %%dx; " NOP4, "pv_outb") : : "a"(value), "d"(port) : "memory");
}

static inline void outw(u16 port, u16 value)
{
	asm volatile(IO_SITE("outw %%ax, %%dx; " NOP3, "pv_outw") : : "a"(value), "d"(port) : "memory");
}

static inline void outl(u16 port, u32 value)
{
	asm volatile(IO_SITE("outl %%eax, %%dx; " NOP4, "pv_outl") : : "a"(value), "d"(port) : "memory");
}

#define IN(plain, call, rax, port) \
	asm volatile(IO_SITE(plain, call) : "+a"(rax) : "d"(port) : "memory")

/* RAX as the instruction leaves it, `rax` having been there. */
static inline u64 in_rax(u16 port, u32 size, u64 rax)
{
	if (size == 1) IN("inb %%dx, %%al; " NOP4, "pv_inb", rax, port);
	if (size == 2) IN("inw %%dx, %%ax; " NOP3, "pv_inw", rax, port);
	if (size == 4) IN("inl %%dx, %%eax; " NOP4, "pv_inl", rax, port);
	return rax;
}

static inline u8 inb(u16 port)
{
	return in_rax(port, 1, 0);
}

static inline void cpuid(u32 leaf, u32 subleaf, u32 out[4])
{
	asm volatile("cpuid" : "=a"(out[0]), "=b"(out[1]), "=c"(out[2]), "=d"(out[3])
		     : "a"(leaf), "c"(subleaf));
}

static inline u64 rdmsr(u32 index)
{
	u32 lo, hi;
	asm volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(index));
	return (u64)hi << 32 | lo;
}

static inline void wrmsr(u32 index, u64 value)
{
	asm volatile("wrmsr" : : "c"(index), "a"((u32)value), "d"((u32)(value >> 32)) : "memory");
}

static inline u64 rdtsc(void)
{
	u32 lo, hi;
	asm volatile("rdtsc" : "=a"(lo), "=d"(hi));
	return (u64)hi << 32 | lo;
}

static inline void vmgexit(void)
{
	asm volatile("vmgexit" : : : "memory");
}

static inline u64 read_cr3(void)
{
	u64 value;
	asm volatile("mov %%cr3, %0" : "=r"(value));
	return value;
}

static inline void write_cr3(u64 value)
{
	asm volatile("mov %0, %%cr3" : : "r"(value) : "memory");
}

static inline void relax(void)
{
	asm volatile("pause" : : : "memory");
}
