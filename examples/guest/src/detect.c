/*
 * What the machine is: vendor, encryption (CPUID Fn8000_001F, MSR SEV_STATUS C001_0131), and who
 * the hypervisor says that it is.
 *
 * Source: AMD APM vol. 3 (24594), E.4.17; vol. 2, 15.34.10. Every CPUID here is a #VC under SEV-ES,
 * answered by the tentative handler of locore.s.
 */
#include "cpu.h"

#define E820_ENTRIES 0x1e8 /* in boot_params */
#define E820_TABLE 0x2d0
#define E820_RAM 1
#define SEV 2
#define HYPERVISOR_LEAF 0x40000000
#define FOUR_GIB (4ull << 30)

struct machine machine;

static void copy_text(char *to, const u32 *words, const u8 order[3])
{
	for (int i = 0; i < 3; i++) memcpy(to + 4 * i, &words[order[i]], 4);
	to[12] = 0;
}

static u64 find_ram_end(const u8 *boot_params)
{
	u64 end = 0;
	for (u32 i = 0; i < boot_params[E820_ENTRIES]; i++) {
		struct __attribute__((packed)) {
			u64 base, length;
			u32 type;
		} entry;
		memcpy(&entry, boot_params + E820_TABLE + i * sizeof entry, sizeof entry);
		u64 last = entry.base + entry.length;
		if (entry.type == E820_RAM && last <= FOUR_GIB && last > end) end = last;
	}
	return end;
}

void detect(const u8 *boot_params)
{
	u32 out[4];
	cpuid(0, 0, out);
	copy_text(machine.vendor, out, (const u8[]){ 1, 3, 2 });
	machine.amd = memcmp(machine.vendor, "AuthenticAMD", 12) == 0;
	cpuid(HYPERVISOR_LEAF, 0, out);
	copy_text(machine.hypervisor, out, (const u8[]){ 1, 2, 3 });
	machine.openbsd = memcmp(machine.hypervisor, "OpenBSDVMM58", 12) == 0;
	machine.ram_end = find_ram_end(boot_params);
	cpuid(0x80000000, 0, out);
	if (!machine.amd || out[0] < CPUID_ENCRYPTION) return;
	cpuid(CPUID_ENCRYPTION, 0, out);
	if ((out[0] & SEV) == 0) return;
	u32 bit = out[1] & 0x3f;
	u64 status = rdmsr(MSR_SEV_STATUS);
	/* A C-bit among the address bits of this guest's memory can't be one. */
	if ((status & 1) == 0 || bit < 32) return;
	machine.sev_status = status;
	machine.c_bit = 1ull << bit;
}
