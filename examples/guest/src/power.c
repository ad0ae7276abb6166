/*
 * How a run ends. ACPI's soft off (ACPI 6.5, 4.8.3.2: PM1a_CNT at 0x604, S5 is SLP_TYP 5, as the
 * machine's FADT and \_S5 say), or the debug-exit port with a status.
 */
#include "cpu.h"

#define PM1A_CNT 0x604
#define S5_AND_SLP_EN (5 << 10 | 1 << 13)
#define DEBUG_EXIT 0xf4

_Noreturn void power_off(void)
{
	outw(PM1A_CNT, S5_AND_SLP_EN);
	for (;;) asm volatile("cli; hlt");
}

_Noreturn void fail(u32 status)
{
	outb(DEBUG_EXIT, status);
	power_off();
}
