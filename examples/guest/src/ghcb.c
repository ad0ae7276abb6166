/*
 * Talking to the host: the negotiation, one exchange through the GHCB, and IN and OUT by it.
 *
 * Source: GHCB specification (56421), 2.3 "GHCB protocol", 4.1. An exchange says by the valid
 * bitmap which fields count, in both directions. Nothing in here may cause a #VC, and nothing
 * interrupts it: interrupts are on in the shadow of STI and during HLT alone (timer.c).
 */
#include "ghcb.h"

#include "cpu.h"

#define VERSION_MAX 2

u8 ghcb[PAGE_SIZE] SHARED;

static u64 msr_protocol(u64 request)
{
	wrmsr(MSR_GHCB, request);
	vmgexit();
	return rdmsr(MSR_GHCB);
}

static void negotiate(void)
{
	u64 answer = msr_protocol(GHCB_INFO_REQUEST);
	if ((answer & 0xfff) != GHCB_INFO_RESPONSE) ghcb_terminate(answer, 0);
	machine.ghcb_max = answer >> 48;
	machine.ghcb_min = (answer >> 32) & 0xffff;
	/* A host that names another C-bit may want to see what should be private. */
	if (machine.c_bit != 1ull << ((answer >> 24) & 0x3f)) ghcb_terminate(answer, 0);
	if (machine.ghcb_min > VERSION_MAX || machine.ghcb_max < 1) ghcb_terminate(answer, 1);
	machine.ghcb_version = machine.ghcb_max < VERSION_MAX ? machine.ghcb_max : VERSION_MAX;
	if (machine.ghcb_version >= 2)
		machine.ghcb_features = msr_protocol(GHCB_FEATURES_REQUEST) >> 12;
}

/* OpenBSD's vmm(4) knows CPUID and termination by the MSR and ends a guest that asks for more. */
void ghcb_start(void)
{
	if (machine.openbsd) machine.ghcb_version = 1;
	else negotiate();
	memset(ghcb, 0, PAGE_SIZE);
	*(u16 *)(ghcb + GHCB_VERSION) = machine.ghcb_version;
}

void ghcb_begin(void)
{
	*(u64 *)(ghcb + GHCB_VALID) = 0;
	*(u64 *)(ghcb + GHCB_VALID + 8) = 0;
}

void ghcb_set(u32 field, u64 value)
{
	if (field == GHCB_CPL) ghcb[field] = value;
	else *(u64 *)(ghcb + field) = value;
	ghcb[GHCB_VALID + field / 64] |= 1 << (field / 8 % 8);
}

u64 ghcb_get(u32 field)
{
	return *(volatile u64 *)(ghcb + field);
}

bool ghcb_valid(u32 field)
{
	return ghcb[GHCB_VALID + field / 64] & 1 << (field / 8 % 8);
}

u32 ghcb_exit(u64 code, u64 info1, u64 info2)
{
	ghcb_set(GHCB_EXIT_CODE, code);
	ghcb_set(GHCB_INFO1, info1);
	ghcb_set(GHCB_INFO2, info2);
	wrmsr(MSR_GHCB, (u64)ghcb);
	vmgexit();
	if (!ghcb_valid(GHCB_INFO1) || !ghcb_valid(GHCB_INFO2)) ghcb_terminate(code, 0);
	u32 result = ghcb_get(GHCB_INFO1);
	if (result > 1) ghcb_terminate(code, ghcb_get(GHCB_INFO2));
	return result;
}

/* The console may need what has just failed: the host is told, and it ends the machine. */
_Noreturn void ghcb_terminate(u64 code, u64 reason)
{
	(void)code;
	wrmsr(MSR_GHCB, GHCB_TERMINATE | (reason & 0xff) << 16);
	vmgexit();
	for (;;) asm volatile("cli; hlt");
}

/* IN and OUT of no port ask for an exception: a host that wants one is not to be trusted. */
static void io_exit(u64 info1)
{
	if (ghcb_exit(EXIT_IOIO, info1, 0) != 0) ghcb_terminate(EXIT_IOIO, 0);
}

u64 ghcb_in(u32 port, u32 size)
{
	ghcb_begin();
	io_exit(port << 16 | size << IO_SIZE_SHIFT | IO_ADDRESS_64 | IO_IN);
	if (!ghcb_valid(GHCB_RAX)) ghcb_terminate(EXIT_IOIO, 0);
	u64 value = ghcb_get(GHCB_RAX);
	return size == 4 ? (u32)value : value & ((1ull << 8 * size) - 1);
}

void ghcb_out(u32 port, u32 size, u32 value)
{
	ghcb_begin();
	ghcb_set(GHCB_RAX, size == 4 ? value : value & ((1u << 8 * size) - 1));
	io_exit(port << 16 | size << IO_SIZE_SHIFT | IO_ADDRESS_64);
}
