/* COM1 by polling (National PC16550D; registers by their names there). */
#include "cpu.h"

#define COM1 0x3f8
enum { THR = 0, DLL = 0, DLM = 1, FCR = 2, LCR = 3, MCR = 4, LSR = 5 };
#define LSR_THRE 0x20

void console_start(void)
{
	outb(COM1 + LCR, 0x80); /* divisor latch */
	outb(COM1 + DLL, 1);
	outb(COM1 + DLM, 0);
	outb(COM1 + LCR, 3); /* 8N1 */
	outb(COM1 + FCR, 7);
	outb(COM1 + MCR, 3);
}

void put_char(char c)
{
	while ((inb(COM1 + LSR) & LSR_THRE) == 0) relax();
	outb(COM1 + THR, c);
}

void put(const char *text)
{
	for (; *text != 0; text++) {
		if (*text == '\n') put_char('\r');
		put_char(*text);
	}
}

void put_number(u64 value)
{
	if (value >= 10) put_number(value / 10);
	put_char('0' + value % 10);
}

void put_hex(u64 value)
{
	if (value >= 16) put_hex(value / 16);
	put_char("0123456789abcdef"[value % 16]);
}

void line(const char *name, const char *text)
{
	put(name);
	put(": ");
	put(text);
	put("\n");
}
