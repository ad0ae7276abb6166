/*
 * A hostile guest: random GHCB contents, scratch addresses and values of the GHCB MSR. The host has
 * to bear all of it; the guest, to count, avoids what would end it or overwrite itself. With `wild`
 * it avoids nothing, and how long it lives is chance.
 */
#include "ghcb.h"

#include "cpu.h"

static u8 victim[4 * PAGE_SIZE] SHARED;
static u8 private_victim[PAGE_SIZE] __attribute__((aligned(PAGE_SIZE)));
static u64 state;
static bool wild;

/* xorshift64* */
static u64 next(void)
{
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return state * 0x2545f4914f6cdd1dull;
}

static u64 below(u64 limit)
{
	return (next() >> 33) % limit;
}

static const u64 exits[] = {
	EXIT_DR7_READ, EXIT_DR7_WRITE, EXIT_RDTSC, EXIT_RDPMC, EXIT_CPUID, EXIT_INVD, EXIT_IOIO, EXIT_MSR,
	EXIT_VMMCALL, EXIT_RDTSCP, EXIT_WBINVD, EXIT_MONITOR, EXIT_MWAIT, EXIT_MMIO_READ, EXIT_MMIO_WRITE,
	0x80000003, 0x80000005, 0x80000010, 0x80000011, 0x80000012, 0x80000013, 0x80000014, 0x80000017,
	0x80000018, 0x8000fffd,
};
#define EXITS (sizeof exits / sizeof exits[0])

/* An address that a careless host would use. */
static u64 address(void)
{
	switch (below(10)) {
	case 0: return (u64)ghcb + GHCB_BUFFER;
	case 1: return (u64)ghcb + GHCB_BUFFER + below(0x800);
	case 2: return (u64)victim + below(sizeof victim);
	case 3: return (u64)victim + PAGE_SIZE - below(16);
	case 4: return (u64)private_victim + below(PAGE_SIZE);
	case 5: return machine.ram_end - below(32);
	case 6: return machine.ram_end + below(1 << 20);
	case 7: return 0xffffffffffffffffull - below(64);
	case 8: return machine.c_bit | (u64)victim;
	default: return next() | 1ull << 40;
	}
}

/* Of a device's registers, or of none; writes go nowhere that the guest needs. */
static u64 device(bool write)
{
	static const u64 places[] = { 0xfec00000, 0xfee00000, 0xd0000000 };
	if (!write && below(2) == 0) return places[below(3)] + below(PAGE_SIZE);
	return address();
}

/* Ports whose registers end or reset the machine, or mask what it needs. */
static bool deadly(u32 port)
{
	if ((port & ~3u) == 0xf4 || port == 0x64 || port == 0x60 || port == 0x92) return true;
	return (port & ~7u) == 0xcf8 || (port & ~0xffu) == 0x600 || (port & ~7u) == 0x3f8;
}

static u64 io_info(void)
{
	u64 info = next() & 0x1fff;
	u32 port;
	if (below(4) != 0) info = (1 << (IO_SIZE_SHIFT + below(3))) | IO_ADDRESS_64 | (info & 0xd);
	do port = below(4) == 0 ? next() & 0xffff : below(0x100);
	while (!wild && (deadly(port) || deadly(port + 1) || deadly(port + 2) || deadly(port + 3)));
	return info | (u64)port << 16;
}

/* Makes the host write into memory, or moves what the guest uses. */
static bool far_reaching(u32 index)
{
	bool clock = index == 0x11 || index == 0x12 || index >> 8 == 0x4b564d;
	return clock || index == 0x1b || index >> 8 == 8;
}

static u64 msr_index(void)
{
	static const u32 known[] = {
		0x10, 0x3a, 0x8b, 0xfe, 0x174, 0x1d9, 0x277, 0x2ff, 0x6e0,
		0xc0000080, 0xc0000081, 0xc0010015, 0xc0010130, 0xc0010131,
	};
	u32 index;
	do index = below(2) == 0 ? known[below(sizeof known / sizeof known[0])] : next();
	while (!wild && far_reaching(index));
	return index;
}

static void fill_registers(void)
{
	static const u16 fields[] = {
		GHCB_RAX, GHCB_RBX, GHCB_RCX, GHCB_RDX, GHCB_RSI, GHCB_XCR0, GHCB_XSS,
	};
	for (u32 i = 0; i < sizeof fields / sizeof fields[0]; i++)
		*(u64 *)(ghcb + fields[i]) = below(3) == 0 ? next() : below(0x100);
	*(u64 *)(ghcb + GHCB_RCX) = msr_index();
	ghcb[GHCB_CPL] = below(4) == 0 ? next() : 0;
	*(u64 *)(ghcb + GHCB_SCRATCH) = address();
}

static void write_fields(u64 code, u64 info1, u64 info2)
{
	*(u64 *)(ghcb + GHCB_EXIT_CODE) = code;
	*(u64 *)(ghcb + GHCB_INFO1) = info1;
	*(u64 *)(ghcb + GHCB_INFO2) = info2;
	*(u64 *)(ghcb + GHCB_VALID) = below(3) == 0 ? next() : ~0ull;
	*(u64 *)(ghcb + GHCB_VALID + 8) = below(3) == 0 ? next() | 7ull << 50 : ~0ull;
	*(u16 *)(ghcb + GHCB_VERSION) = below(16) == 0 ? next() : machine.ghcb_version;
	*(u32 *)(ghcb + GHCB_USAGE) = below(16) == 0 ? next() : 0;
}

static void random_exit(void)
{
	u64 code = exits[below(EXITS)];
	u64 info1 = below(3) == 0 ? next() : below(3);
	u64 info2 = below(3) == 0 ? next() : below(0x1000);
	fill_registers();
	if (code == EXIT_IOIO) info1 = io_info();
	if (code == EXIT_MMIO_READ || code == EXIT_MMIO_WRITE) {
		info1 = device(code == EXIT_MMIO_WRITE);
		info2 = below(4) == 0 ? next() : below(20);
	}
	/* Nothing with a queue of random addresses, which would be the guest's own. */
	if (code == 0x80000005 && !wild) info1 = 1;
	if (below(8) == 0) code = wild ? next() & 0x8000ffff : 0x40000000 | next();
	write_fields(code, info1, info2);
}

/* The whole page; by chance it would take an age to hit an exit, so the code is a known one. */
static void random_page(void)
{
	for (u32 at = 0; at < PAGE_SIZE; at += 8) *(u64 *)(ghcb + at) = next();
	random_exit();
}

/* A page for a GHCB that is none. */
static u64 elsewhere(void)
{
	if (wild) return address() & ~0xfffull;
	u64 page = below(5);
	return page == 4 ? (u64)private_victim : (u64)victim + page * PAGE_SIZE;
}

static u64 msr_value(void)
{
	static const u16 requests[] = { GHCB_INFO_REQUEST, GHCB_CPUID_REQUEST, GHCB_FEATURES_REQUEST };
	if (wild && below(64) == 0) return next();
	if (machine.openbsd) return (next() & 0xc0000000) | next() << 32 | GHCB_CPUID_REQUEST;
	return (next() & ~0xfffull) | requests[below(3)];
}

void run_fuzz(u64 seed, u64 count, bool is_wild)
{
	u64 refused = 0, exceptions = 0;
	if (!sev_es()) {
		put("fuzz: skipped (no SEV-ES)\n");
		return;
	}
	state = seed * 2 + 1;
	wild = is_wild;
	for (u64 i = 0; i < count; i++) {
		if (below(16) == 0) {
			wrmsr(MSR_GHCB, msr_value());
			vmgexit();
			continue;
		}
		if (below(32) == 0) random_page();
		else random_exit();
		/* Another place for the GHCB; the answer may land there. */
		u64 at = below(32) == 0 ? elsewhere() : (u64)ghcb;
		if (machine.openbsd) at = (u64)ghcb; /* the first one is the only one */
		wrmsr(MSR_GHCB, at);
		vmgexit();
		u64 result = ghcb_get(GHCB_INFO1);
		if (result == 2) refused++;
		if (result == 1) exceptions++;
	}
	memset(ghcb, 0, PAGE_SIZE);
	*(u16 *)(ghcb + GHCB_VERSION) = machine.ghcb_version;
	put("fuzz: ");
	put_number(count);
	put(" VMGEXITs, ");
	put_number(refused);
	put(" refused, ");
	put_number(exceptions);
	put(" answered by an exception\n");
}
