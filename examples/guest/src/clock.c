/*
 * KVM's paravirtual clock: the host writes it into a page, so the page has to be a shared one.
 *
 * Source: Linux Documentation/virt/kvm/x86/msr.rst (0x4b564d01) and cpuid.rst (CLOCKSOURCE2).
 */
#include "cpu.h"

#define MSR_SYSTEM_TIME 0x4b564d01
#define CLOCKSOURCE2 8
#define ENABLE 1

struct clock {
	u32 version, pad0;
	u64 tsc, system_time;
	u32 multiplier;
	s8 shift;
	u8 flags, pad[2];
};

static struct clock shared_clock SHARED;
static u8 private_clock[PAGE_SIZE] __attribute__((aligned(PAGE_SIZE)));

static bool makes_sense(const volatile struct clock *clock)
{
	return (clock->version & 1) == 0 && clock->version != 0 && clock->multiplier != 0 &&
	       clock->pad[0] == 0 && clock->pad[1] == 0 && clock->pad0 == 0;
}

/* Nanoseconds since the start. */
static u64 now(const volatile struct clock *clock)
{
	u64 ticks = rdtsc() - clock->tsc;
	ticks = clock->shift >= 0 ? ticks << clock->shift : ticks >> -clock->shift;
	return clock->system_time + (u64)((unsigned __int128)ticks * clock->multiplier >> 32);
}

struct verdict check_clock(void)
{
	u32 out[4];
	cpuid(0x40000001, 0, out);
	if (memcmp(machine.hypervisor, "KVMKVMKVM", 9) != 0 || (out[0] & CLOCKSOURCE2) == 0)
		return (struct verdict){ SKIPPED, "the host has no such clock" };
	if (wrmsr_safe(MSR_SYSTEM_TIME, (u64)&shared_clock | ENABLE) != 0)
		return (struct verdict){ FAILED, "the MSR faults" };
	if (!makes_sense(&shared_clock)) return (struct verdict){ FAILED, "nothing in the shared page" };
	u64 before = now(&shared_clock);
	for (volatile u32 i = 0; i < 1000; i++) {}
	if (now(&shared_clock) <= before) return (struct verdict){ FAILED, "it stands still" };
	memset(private_clock, 0, PAGE_SIZE);
	wrmsr_safe(MSR_SYSTEM_TIME, (u64)private_clock | ENABLE);
	bool sense = makes_sense((struct clock *)private_clock);
	wrmsr_safe(MSR_SYSTEM_TIME, 0);
	if (sense && sev()) return (struct verdict){ FAILED, "the host reached a private page" };
	if (!sense && !sev()) return (struct verdict){ FAILED, "garbled" };
	if (sense) return (struct verdict){ OK, "in any page: no protection" };
	return (struct verdict){ OK, "in a shared page; noise in a private one" };
}
