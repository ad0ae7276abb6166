/*
 * What an OUT costs: the same bytes to the same device, by the plain instruction (under SEV-ES by
 * #VC) or by the call that was patched over it.
 */
#include "cpu.h"

#define COM1_THR 0x3f8
#define LINE 64

void run_outs(u64 count)
{
	u16 port = option_number("port", COM1_THR);
	u64 start = rdtsc(), vcs = vc_count;
	for (u64 i = 0; i < count; i++) outb(port, i % LINE == LINE - 1 ? '\n' : 'a' + i % 26);
	vcs = vc_count - vcs;
	u64 ticks = rdtsc() - start;
	put("\nouts: ");
	put_number(count);
	put(paravirtual_io ? " paravirtual" : " plain");
	put(", #VC ");
	put_number(vcs);
	put(", TSC ticks ");
	put_number(ticks);
	put("\n");
}
