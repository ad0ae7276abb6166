/*
 * Sleep until an interrupt: the i8254's, by way of the i8259. HLT leaves the guest under every
 * protection, and under SEV-ES without its help; what wakes it is injected by the host.
 *
 * Source: Intel 8254 and 8259A datasheets; IBM PC AT: both at their usual ports.
 */
#include "cpu.h"

#define TICKS 3
#define DIVISOR 1193 /* of 1193182 Hz: about a millisecond */
enum { PIC = 0x20, PIC_DATA = 0x21, PIC2 = 0xa0, PIC2_DATA = 0xa1 };
enum { PIT0 = 0x40, PIT_CONTROL = 0x43 };
#define EOI 0x20
#define RATE_GENERATOR 0x34 /* counter 0, both bytes, mode 2 */
#define ONE_SHOT 0x30       /* mode 0: a last tick at most */

static volatile u32 ticks;

void timer_interrupt(void)
{
	ticks++;
	outb(PIC, EOI);
}

static void pic_start(void)
{
	outb(PIC, 0x11); /* ICW1: edge-triggered, cascade, ICW4 follows */
	outb(PIC_DATA, VECTOR_TIMER);
	outb(PIC_DATA, 4);
	outb(PIC_DATA, 1);
	outb(PIC2, 0x11);
	outb(PIC2_DATA, VECTOR_TIMER + 8);
	outb(PIC2_DATA, 2);
	outb(PIC2_DATA, 1);
	outb(PIC_DATA, 0xfe); /* IRQ 0 alone */
	outb(PIC2_DATA, 0xff);
}

struct verdict check_timer(void)
{
	ticks = 0;
	pic_start();
	outb(PIT_CONTROL, RATE_GENERATOR);
	outb(PIT0, DIVISOR & 0xff);
	outb(PIT0, DIVISOR >> 8);
	/* Nothing can come between STI and HLT: the interrupt shadow. */
	while (ticks < TICKS) asm volatile("sti; hlt; cli" : : : "memory");
	outb(PIT_CONTROL, ONE_SHOT);
	outb(PIC_DATA, 0xff);
	return (struct verdict){ OK, "interrupts woke it" };
}
