/* The later IDT: #VC by vc.c, #GP of an MSR that is not there, and the end of everything else. */
#include "cpu.h"

struct __attribute__((packed)) gate {
	u16 offset_low, selector;
	u8 ist, type;
	u16 offset_middle;
	u32 offset_high, reserved;
};

/* An instruction that may fault, and where to go on. */
struct fixup {
	u64 from, to;
};

#define INTERRUPT_GATE 0x8e

extern u8 vectors[]; /* of 16 bytes each */
extern const struct fixup fixups[], fixups_end[];
static struct gate idt[VECTORS] __attribute__((aligned(16)));

void traps_start(void)
{
	for (u32 i = 0; i < VECTORS; i++) {
		u64 at = (u64)vectors + 16 * i;
		idt[i] = (struct gate){ .offset_low = at, .selector = CODE64, .type = INTERRUPT_GATE,
					.offset_middle = at >> 16, .offset_high = at >> 32 };
	}
	struct __attribute__((packed)) {
		u16 limit;
		u64 base;
	} pointer = { sizeof idt - 1, (u64)idt };
	asm volatile("lidt %0" : : "m"(pointer));
}

/* Goes on at the fixup of the instruction, where it has one, with the vector in RAX. */
bool reflect(struct frame *frame, u32 vector)
{
	for (const struct fixup *each = fixups; each < fixups_end; each++) {
		if (each->from != frame->rip) continue;
		frame->rip = each->to;
		frame->reg[RAX] = vector;
		return true;
	}
	return false;
}

void trap(struct frame *frame)
{
	frame->reg[RSP] = frame->rsp;
	if (frame->vector == VECTOR_VC) return handle_vc(frame);
	if (frame->vector == VECTOR_TIMER) return timer_interrupt();
	if (reflect(frame, frame->vector)) return;
	put("exception ");
	put_number(frame->vector);
	put(", error code 0x");
	put_hex(frame->error);
	put(", at 0x");
	put_hex(frame->rip);
	put("\n");
	fail(1);
}

#define MAY_FAULT(instruction) \
	"1: " instruction "\n" \
	"xor %%eax, %%eax\n" \
	"2:\n" \
	".pushsection .fixups, \"a\"\n" \
	".quad 1b, 2b\n" \
	".popsection"

/* 0, or the vector of the exception. */
int wrmsr_safe(u32 index, u64 value)
{
	u32 result = value;
	asm volatile(MAY_FAULT("wrmsr") : "+a"(result) : "c"(index), "d"((u32)(value >> 32)) : "memory");
	return result;
}

int write_dr7_safe(u64 value)
{
	u32 result = 0;
	asm volatile(MAY_FAULT("mov %1, %%dr7") : "=&a"(result) : "r"(value) : "memory");
	return result;
}

int rdmsr_safe(u32 index, u64 *value)
{
	u32 result, lo = 0, hi = 0;
	asm volatile(MAY_FAULT("rdmsr; mov %%eax, %1") : "=a"(result), "+r"(lo), "+d"(hi) : "c"(index));
	*value = (u64)hi << 32 | lo;
	return result;
}
