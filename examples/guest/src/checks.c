/*
 * The checks: each does something that leaves the guest, and says whether the answer is right. The
 * same code runs under every protection.
 */
#include "cpu.h"

#define OKAY(text) ((struct verdict){ OK, text })
#define FAIL(text) ((struct verdict){ FAILED, text })
#define SKIP(text) ((struct verdict){ SKIPPED, text })

#define COM1_THR 0x3f8
#define COM1_SCRATCH 0x3ff
#define NOBODY 0x510 /* no device has these ports */
#define IOAPIC 0xfec00000ull
#define LOCAL_APIC_VERSION 0xfee00030ull
#define MSR_APIC_BASE 0x1b
#define MSR_OF_NOBODY 0x00dead00
#define KVM_ENOSYS 1000

static u8 shared_text[PAGE_SIZE] SHARED;
static u8 private_text[PAGE_SIZE];

static struct verdict check_cpuid(void)
{
	u32 out[4], again[4];
	cpuid(0, 0, out);
	if (memcmp(&out[1], machine.vendor, 4) != 0) return FAIL("another vendor than before");
	cpuid(0xd, 0, out);
	if (out[1] < 576) return FAIL("the XSAVE area is too small");
	cpuid(4, 0, out);
	cpuid(4, 1, again);
	cpuid(0x80000000, 0, out);
	if (out[0] < 0x80000008) return FAIL("too few extended leaves");
	return OKAY("answered");
}

static struct verdict check_msr(void)
{
	u64 value;
	int vector = rdmsr_safe(MSR_OF_NOBODY, &value);
	if (vector != VECTOR_GP) return FAIL("an MSR that isn't there gives no #GP");
	if (machine.openbsd) return OKAY("#GP for one that isn't there");
	if (rdmsr_safe(MSR_APIC_BASE, &value) != 0) return FAIL("APIC_BASE faults");
	if ((value & 0xfffff000) != 0xfee00000) return FAIL("the local APIC is elsewhere");
	return OKAY("APIC_BASE; #GP for one that isn't there");
}

static struct verdict check_time(void)
{
	u64 first = rdtsc();
	for (volatile u32 i = 0; i < 100; i++) {}
	u64 ticks = rdtsc() - first;
	return ticks > 100 && ticks < 1ull << 40 ? OKAY("goes forward") : FAIL("does not go forward");
}

static struct verdict check_dr7(void)
{
	/* A global breakpoint at address 0, where nothing runs. */
	const u64 value = 0x402, reset = 0x400;
	u64 found = 0, dr6;
	if (machine.openbsd && sev_es()) return SKIP("not an exit that the host knows");
	asm volatile("mov %0, %%dr7" : : "r"(value));
	asm volatile("mov %%dr7, %0" : "=r"(found));
	asm volatile("mov %0, %%dr7" : : "r"(reset));
	asm volatile("mov %%dr6, %0" : "=r"(dr6)); /* never an exit */
	/* Under SEV-ES the host asks for that one. */
	if (write_dr7_safe(1ull << 32) != VECTOR_GP) return FAIL("an upper half gives no #GP");
	return found == value ? OKAY("reads as written") : FAIL("does not read as written");
}

static struct verdict check_io(void)
{
	const u64 before = 0x1122334455667788;
	for (u32 byte = 0; byte < 256; byte += 0x33) {
		outb(COM1_SCRATCH, byte);
		if (in_rax(COM1_SCRATCH, 1, before) != ((before & ~0xffull) | byte))
			return FAIL("the scratch register does not read as written");
	}
	if (in_rax(NOBODY, 2, before) != (before | 0xffff)) return FAIL("IN AX");
	if (in_rax(NOBODY, 4, before) != 0xffffffff) return FAIL("IN EAX");
	outw(NOBODY, 0x1234);
	outl(NOBODY, 0x12345678);
	u64 rax = before;
	outb(0x80, 0x42);
	asm volatile("inb $0x80, %%al" : "+a"(rax));
	if (rax != ((before & ~0xffull) | 0x42)) return FAIL("IN with its port inside");
	return OKAY("of 1, 2 and 4 bytes");
}

/*
 * Without SEV-ES the host reads the string itself, and sees what is shared. The #VC handler copies
 * it, in pieces that fit into the GHCB.
 */
static struct verdict check_string_io(void)
{
	const u32 length = 3000;
	if (machine.openbsd && sev_es()) return SKIP("not an exit that the host knows");
	u8 *text = sev() && !sev_es() ? shared_text : private_text;
	const u8 *from = text;
	u8 *to = text;
	u64 count = 28;
	outb(COM1_SCRATCH, 0x5c);
	u64 many = length;
	asm volatile("rep insb" : "+D"(to), "+c"(many) : "d"(COM1_SCRATCH) : "memory");
	for (u32 i = 0; i < length; i++)
		if (text[i] != 0x5c) return FAIL("REP INSB");
	for (u32 i = 0; i < 26; i++) text[i] = 'A' + i;
	text[26] = '\r';
	text[27] = '\n';
	asm volatile("rep outsb" : "+S"(from), "+c"(count) : "d"(COM1_THR) : "memory");
	if (to != text + length || many != 0) return FAIL("where REP INSB ended");
	if (from != text + 28 || count != 0) return FAIL("where REP OUTSB ended");
	return OKAY("INS and OUTS");
}

/* One access of each shape that #VC has to decode. */
static struct verdict check_mmio(void)
{
	volatile u32 *select = (volatile u32 *)IOAPIC, *data = select + 4;
	u32 dword, moved, narrow;
	u64 wide = ~0ull, index = 4;
	if (machine.openbsd && sev_es()) return SKIP("not an exit that the host knows");
	*select = 1; /* version, and the number of the last entry */
	dword = *data;
	if ((dword & 0xff) < 0x10) return FAIL("IOAPIC version");
	asm volatile("movl (%1, %2, 4), %k0" : "+r"(wide) : "r"(select), "r"(index));
	asm volatile("movl %1, 0x10(%2); movl 0x10(%2), %0"
		     : "=&r"(moved) : "r"(dword), "r"(select) : "memory");
	asm volatile("movzbl 0x10(%1), %0" : "=r"(narrow) : "r"(select));
	if (wide != dword || moved != dword) return FAIL("MOV");
	(void)narrow; /* narrower than the register: what comes is the device's affair */
	*select = 0;
	asm volatile("movl $0x05000000, 0x10(%0)" : : "r"(select) : "memory");
	u32 id = *data;
	asm volatile("movl $0, 0x10(%0)" : : "r"(select) : "memory");
	if (id >> 24 != 5) return FAIL("MOV of an immediate");
	if ((*(volatile u32 *)LOCAL_APIC_VERSION & 0xff) < 0x10) return FAIL("local APIC version");
	return OKAY("IOAPIC and local APIC");
}

static struct verdict check_vmmcall(void)
{
	s64 result = 0x7fff;
	if (machine.openbsd && sev_es()) return SKIP("not an exit that the host knows");
	if (memcmp(machine.hypervisor, "KVMKVMKVM", 9) != 0) return SKIP("the host is not KVM");
	asm volatile("vmmcall" : "+a"(result) : "b"(1), "c"(2), "d"(3), "S"(4) : "memory");
	return result == -KVM_ENOSYS ? OKAY("no such call") : FAIL("another answer than ENOSYS");
}

static struct verdict check_wbinvd(void)
{
	if (machine.openbsd && sev_es()) return SKIP("not an exit that the host knows");
	asm volatile("wbinvd" : : : "memory");
	return OKAY("came back");
}

static const struct {
	const char *name;
	struct verdict (*run)(void);
} checks[] = {
	{ "cpuid", check_cpuid },
	{ "msr", check_msr },
	{ "time", check_time },
	{ "dr7", check_dr7 },
	{ "io", check_io },
	{ "string-io", check_string_io },
	{ "mmio", check_mmio },
	{ "vmmcall", check_vmmcall },
	{ "wbinvd", check_wbinvd },
	{ "bounce", check_bounce },
	{ "private-dma", check_private_dma },
	{ "clock", check_clock },
	{ "timer", check_timer },
};

/* Those that `checks=` names, or all. Returns how many failed. */
u32 run_checks(void)
{
	static const char *const words[] = { "ok", "FAILED", "skipped" };
	const char *value;
	u32 failures = 0;
	bool all = !option("checks", &value);
	for (u32 i = 0; i < sizeof checks / sizeof checks[0]; i++) {
		if (!all && !option_lists("checks", checks[i].name)) continue;
		struct verdict verdict = checks[i].run();
		put("check ");
		put(checks[i].name);
		put(": ");
		put(words[verdict.result]);
		put(" (");
		put(verdict.why);
		put(")\n");
		if (verdict.result == FAILED) failures++;
	}
	return failures;
}
