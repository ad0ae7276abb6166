/* What the compiler expects to find, and a little more. */
#include "guest.h"

void *memset(void *to, int value, size_t size)
{
	void *start = to;
	asm volatile("rep stosb" : "+D"(to), "+c"(size) : "a"(value) : "memory");
	return start;
}

void *memcpy(void *to, const void *from, size_t size)
{
	void *start = to;
	asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size) : : "memory");
	return start;
}

int memcmp(const void *a, const void *b, size_t size)
{
	const u8 *x = a, *y = b;
	for (size_t i = 0; i < size; i++)
		if (x[i] != y[i]) return x[i] - y[i];
	return 0;
}

size_t strlen(const char *text)
{
	size_t length = 0;
	while (text[length] != 0) length++;
	return length;
}
