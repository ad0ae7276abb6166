/* The guest: finds out what it is under, prepares for that, and does what its command line asks. */
#include "cpu.h"
#include "ghcb.h"

static const char *entry_name(void)
{
	if (entry_kind == ENTRY_32) return "32-bit protected mode";
	return entry_kind == ENTRY_64 ? "64-bit mode" : "compatibility mode";
}

static void report_machine(void)
{
	put("\nCloister guest, entered by ");
	put(entry_name());
	put("\nprocessor: ");
	put(machine.vendor);
	line(", hypervisor", machine.hypervisor);
	put("memory: ");
	put_number(machine.ram_end >> 20);
	put(" MiB\nprotection: ");
	put(!sev() ? "none" : sev_es() ? "SEV SEV-ES" : "SEV");
	if (sev()) {
		put(", C-bit ");
		put_number(__builtin_ctzll(machine.c_bit));
		put(", SEV_STATUS 0x");
		put_hex(machine.sev_status);
	}
	put("\ntentative #VC: ");
	put_number(tentative_vcs);
	if (entry_kind == ENTRY_COMPAT) {
		put("\nCPUID of 32-bit code: 0x");
		put_hex(compat_cpuid);
	}
	if (sev_es()) {
		put("\nGHCB: protocol ");
		put_number(machine.ghcb_version);
		if (machine.openbsd) {
			put(", not negotiated");
		} else {
			put(" of ");
			put_number(machine.ghcb_min);
			put(" to ");
			put_number(machine.ghcb_max);
			put(", features 0x");
			put_hex(machine.ghcb_features);
		}
	}
	put("\n");
	line("command line", command_line());
}

static void run_asked(void)
{
	const char *value;
	u64 outs = option_number("outs", 0);
	if (outs > 0) run_outs(outs);
	if (option("plant", &value)) {
		u64 planted = parse_number(&value);
		run_plant(planted, *value == ',' ? value++, parse_number(&value) : 1000);
	}
	if (option("fuzz", &value)) {
		u64 seed = parse_number(&value);
		u64 count = *value == ',' ? value++, parse_number(&value) : 1000;
		run_fuzz(seed, count, option("wild", &value));
	}
}

_Noreturn void start(const u8 *boot_params)
{
	const char *value;
	detect(boot_params);
	options_start(boot_params);
	if (option_lists("vmm", "openbsd")) machine.openbsd = true;
	paging_start();
	if (sev_es()) ghcb_start();
	traps_start();
	console_start();
	report_machine();
	if (sev_es() && option_number("pv", 0) != 0) {
		u32 places = patch_io(true);
		put("paravirtual IN and OUT: ");
		put_number(places);
		put(" places\n");
	}
	u32 failures = run_checks();
	run_asked();
	vc_report();
	if (failures > 0 && !option("wild", &value)) fail(1);
	put("Switching off.\n");
	power_off();
}
