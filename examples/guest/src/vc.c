/*
 * The later #VC handler: an exit that needs the guest's registers, told to the host through the
 * GHCB with just those that it needs.
 *
 * Source: GHCB specification (56421), 4.1 and table 7 (what each exit code gives and takes).
 */
#include "ghcb.h"

#include "cpu.h"

static const struct {
	u64 code;
	const char *name;
} kinds[] = {
	{ EXIT_DR7_READ, "DR7 read" },
	{ EXIT_DR7_WRITE, "DR7 write" },
	{ EXIT_RDTSC, "RDTSC" },
	{ EXIT_RDPMC, "RDPMC" },
	{ EXIT_CPUID, "CPUID" },
	{ EXIT_IOIO, "IOIO" },
	{ EXIT_MSR, "MSR" },
	{ EXIT_VMMCALL, "VMMCALL" },
	{ EXIT_RDTSCP, "RDTSCP" },
	{ EXIT_WBINVD, "WBINVD" },
	{ EXIT_MONITOR, "MONITOR" },
	{ EXIT_MWAIT, "MWAIT" },
	{ EXIT_NPF, "MMIO" },
};
#define KINDS (sizeof kinds / sizeof kinds[0])

u64 vc_count;
static u64 counts[KINDS];

void vc_report(void)
{
	const char *before = "#VC by kind: ";
	for (u32 i = 0; i < KINDS; i++) {
		u64 count = counts[i];
		if (count == 0) continue;
		put(before);
		put(kinds[i].name);
		put(" ");
		put_number(count);
		before = ", ";
	}
	if (before[0] == ',') put("\n");
}

/* A register that the host has to give back. */
static void take(u64 *to, u32 field)
{
	if (!ghcb_valid(field)) ghcb_terminate(ghcb_get(GHCB_EXIT_CODE), 0);
	*to = ghcb_get(field);
}

static void take_low(u64 *to, u32 field)
{
	take(to, field);
	*to = (u32)*to;
}

/* These are false where the host asks for an exception instead. */

static bool vc_cpuid(u64 *reg)
{
	ghcb_begin();
	ghcb_set(GHCB_RAX, (u32)reg[RAX]);
	ghcb_set(GHCB_RCX, (u32)reg[RCX]);
	if ((u32)reg[RAX] == 0xd) {
		/* The size of the area depends on them. Neither is switched on here. */
		ghcb_set(GHCB_XCR0, 1);
		if ((u32)reg[RCX] == 1) ghcb_set(GHCB_XSS, 0);
	}
	if (ghcb_exit(EXIT_CPUID, 0, 0) == 1) return false;
	take_low(&reg[RAX], GHCB_RAX);
	take_low(&reg[RBX], GHCB_RBX);
	take_low(&reg[RCX], GHCB_RCX);
	take_low(&reg[RDX], GHCB_RDX);
	return true;
}

static bool vc_msr(u64 *reg, bool write)
{
	ghcb_begin();
	ghcb_set(GHCB_RCX, (u32)reg[RCX]);
	if (write) {
		ghcb_set(GHCB_RAX, (u32)reg[RAX]);
		ghcb_set(GHCB_RDX, (u32)reg[RDX]);
	}
	if (ghcb_exit(EXIT_MSR, write, 0) == 1) return false;
	if (write) return true;
	take_low(&reg[RAX], GHCB_RAX);
	take_low(&reg[RDX], GHCB_RDX);
	return true;
}

/* INS and OUTS, as much at a time as the buffer holds. False: the instruction goes on. */
static bool vc_string_io(struct frame *frame, const struct instruction *in, u32 size, bool input)
{
	u64 *reg = frame->reg;
	u64 *pointer = input ? &reg[RDI] : &reg[RSI];
	u64 total = in->prefix_rep ? reg[RCX] : 1;
	u64 count = total < GHCB_BUFFER_SIZE / size ? total : GHCB_BUFFER_SIZE / size;
	s64 step = frame->rflags & 0x400 ? -(s64)size : (s64)size;
	if (count == 0) return true;
	u64 info1 = (u64)(u16)reg[RDX] << 16 | size << IO_SIZE_SHIFT | IO_ADDRESS_64 | IO_STRING | IO_DS;
	if (input) info1 |= IO_IN;
	if (in->prefix_rep) info1 |= IO_REP;
	u8 *buffer = ghcb + GHCB_BUFFER;
	if (!input)
		for (u64 i = 0; i < count; i++) memcpy(buffer + i * size, (void *)(*pointer + i * step), size);
	ghcb_begin();
	ghcb_set(GHCB_SCRATCH, (u64)buffer);
	if (ghcb_exit(EXIT_IOIO, info1, count) == 1) ghcb_terminate(EXIT_IOIO, 0);
	if (input)
		for (u64 i = 0; i < count; i++) memcpy((void *)(*pointer + i * step), buffer + i * size, size);
	*pointer += count * step;
	if (in->prefix_rep) reg[RCX] -= count;
	return count == total;
}

static bool vc_io(struct frame *frame, const struct instruction *in)
{
	u64 *reg = frame->reg;
	u8 opcode = in->opcode;
	u32 size = (opcode & 1) == 0 ? 1 : in->prefix_66 ? 2 : 4;
	switch (opcode) {
	case 0x6c: case 0x6d:
		return vc_string_io(frame, in, size, true);
	case 0x6e: case 0x6f:
		return vc_string_io(frame, in, size, false);
	case 0xe4 ... 0xe7: case 0xec ... 0xef:
		break;
	default:
		ghcb_terminate(EXIT_IOIO, opcode);
	}
	u32 port = opcode < 0xe8 ? (u8)in->immediate : (u16)reg[RDX];
	if ((opcode & 2) != 0) {
		ghcb_out(port, size, reg[RAX]);
	} else {
		u64 value = ghcb_in(port, size);
		u64 kept = size == 4 ? 0 : reg[RAX] & ~((1ull << 8 * size) - 1);
		reg[RAX] = kept | value;
	}
	return true;
}

static bool vc_vmmcall(u64 *reg)
{
	ghcb_begin();
	ghcb_set(GHCB_RAX, reg[RAX]);
	ghcb_set(GHCB_CPL, 0);
	/* KVM's calls have arguments. */
	ghcb_set(GHCB_RBX, reg[RBX]);
	ghcb_set(GHCB_RCX, reg[RCX]);
	ghcb_set(GHCB_RDX, reg[RDX]);
	ghcb_set(GHCB_RSI, reg[RSI]);
	if (ghcb_exit(EXIT_VMMCALL, 0, 0) == 1) return false;
	take(&reg[RAX], GHCB_RAX);
	return true;
}

static bool vc_time(u64 *reg, u64 code)
{
	ghcb_begin();
	if (code == EXIT_RDPMC) ghcb_set(GHCB_RCX, (u32)reg[RCX]);
	if (ghcb_exit(code, 0, 0) == 1) return false;
	take_low(&reg[RAX], GHCB_RAX);
	take_low(&reg[RDX], GHCB_RDX);
	if (code == EXIT_RDTSCP) take_low(&reg[RCX], GHCB_RCX);
	return true;
}

static bool vc_dr7(struct frame *frame, const struct instruction *in, bool write)
{
	u64 *reg = &frame->reg[in->rm | (in->rex & 1) << 3];
	ghcb_begin();
	if (write) ghcb_set(GHCB_RAX, *reg);
	if (ghcb_exit(write ? EXIT_DR7_WRITE : EXIT_DR7_READ, 0, 0) == 1) return false;
	if (!write) take(reg, GHCB_RAX);
	return true;
}

static void count(u64 code)
{
	vc_count++;
	for (u32 i = 0; i < KINDS; i++)
		if (kinds[i].code == code) counts[i]++;
}

/* What the host asks for, in the form of EVENTINJ: it may have #GP and #UD (specification, 4.1). */
static void raise(struct frame *frame, u64 code)
{
	u64 event = ghcb_get(GHCB_INFO2);
	u32 vector = event & 0xff;
	bool is_exception = (event & (EVENT_VALID | EVENT_TYPE)) == (EVENT_VALID | EVENT_EXCEPTION);
	bool known = vector == VECTOR_GP || vector == VECTOR_UD;
	if (!is_exception || !known || !reflect(frame, vector)) ghcb_terminate(code, vector);
}

void handle_vc(struct frame *frame)
{
	struct instruction in;
	u64 *reg = frame->reg;
	u64 code = frame->error;
	bool answered = true;
	count(code);
	decode(&in, frame);
	switch (code) {
	case EXIT_CPUID:
		answered = vc_cpuid(reg);
		break;
	case EXIT_IOIO:
		if (!vc_io(frame, &in)) return;
		break;
	case EXIT_MSR:
		answered = vc_msr(reg, in.opcode == 0x0f30);
		break;
	case EXIT_NPF:
		handle_mmio(frame, &in);
		break;
	case EXIT_VMMCALL:
		answered = vc_vmmcall(reg);
		break;
	case EXIT_RDTSC: case EXIT_RDTSCP: case EXIT_RDPMC:
		answered = vc_time(reg, code);
		break;
	case EXIT_DR7_READ: case EXIT_DR7_WRITE:
		answered = vc_dr7(frame, &in, code == EXIT_DR7_WRITE);
		break;
	case EXIT_WBINVD: case EXIT_MONITOR: case EXIT_MWAIT:
		ghcb_begin();
		answered = ghcb_exit(code, 0, 0) == 0;
		break;
	default:
		ghcb_terminate(code, 0);
	}
	if (answered) frame->rip += in.length;
	else raise(frame, code);
}
