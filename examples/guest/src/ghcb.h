/*
 * The GHCB: the page that guest and host share, and its fields' offsets.
 *
 * Source: GHCB specification (56421), chapter 2.6, table 3.
 */
#pragma once

#include "guest.h"

enum {
	GHCB_CPL = 0x0cb,
	GHCB_XSS = 0x140,
	GHCB_RAX = 0x1f8,
	GHCB_RCX = 0x308,
	GHCB_RDX = 0x310,
	GHCB_RBX = 0x318,
	GHCB_RSI = 0x330,
	GHCB_EXIT_CODE = 0x390,
	GHCB_INFO1 = 0x398,
	GHCB_INFO2 = 0x3a0,
	GHCB_SCRATCH = 0x3a8,
	GHCB_XCR0 = 0x3e8,
	GHCB_VALID = 0x3f0,
	GHCB_BUFFER = 0x800,
	GHCB_BUFFER_SIZE = 0x7f0,
	GHCB_VERSION = 0xffa,
	GHCB_USAGE = 0xffc,
};

/* Exit codes: the intercepts' of the VMCB, then those that only software knows. */
enum {
	EXIT_DR7_READ = 0x27,
	EXIT_DR7_WRITE = 0x37,
	EXIT_RDTSC = 0x6e,
	EXIT_RDPMC = 0x6f,
	EXIT_INVD = 0x76,
	EXIT_IOIO = 0x7b,
	EXIT_MSR = 0x7c,
	EXIT_VMMCALL = 0x81,
	EXIT_RDTSCP = 0x87,
	EXIT_WBINVD = 0x89,
	EXIT_MONITOR = 0x8a,
	EXIT_MWAIT = 0x8b,
	EXIT_NPF = 0x400,
};
#define EXIT_MMIO_READ 0x80000001
#define EXIT_MMIO_WRITE 0x80000002
#define EXIT_TERMINATE 0x8000fffe

/* Of IOIO's first information word. */
enum { IO_IN = 1, IO_STRING = 4, IO_REP = 8, IO_ADDRESS_64 = 0x200, IO_DS = 3 << 10 };
#define IO_SIZE_SHIFT 4

/* Of an event that a reply asks for. */
enum { EVENT_TYPE = 7 << 8, EVENT_EXCEPTION = 3 << 8 };
#define EVENT_VALID (1ull << 31)

extern u8 ghcb[PAGE_SIZE];

void ghcb_start(void);
void ghcb_begin(void);
void ghcb_set(u32 field, u64 value);
u64 ghcb_get(u32 field);
bool ghcb_valid(u32 field);
/* 0: answered. 1: an exception, its event in INFO2. What else the host says ends the guest. */
u32 ghcb_exit(u64 code, u64 info1, u64 info2);
_Noreturn void ghcb_terminate(u64 code, u64 reason);
u64 ghcb_in(u32 port, u32 size);
void ghcb_out(u32 port, u32 size, u32 value);
