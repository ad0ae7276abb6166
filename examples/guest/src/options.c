/* The command line: words `name`, `name=value` or `name=value,value`, divided by spaces. */
#include "guest.h"

#define COMMAND_LINE_POINTER 0x228 /* in boot_params */
#define LENGTH_MAX 2047

static char text[LENGTH_MAX + 1];

/* boot_params and the command line lie in memory that the guest's own tables map as private. */
void options_start(const u8 *boot_params)
{
	u32 address;
	memcpy(&address, boot_params + COMMAND_LINE_POINTER, sizeof address);
	const char *from = (const char *)(u64)address;
	size_t length = 0;
	while (address != 0 && length < LENGTH_MAX && from[length] != 0) length++;
	memcpy(text, from, length);
	text[length] = 0;
}

const char *command_line(void)
{
	return text;
}

/* Finds the word `name`; `*value` is what follows its equals sign, or an empty text. */
bool option(const char *name, const char **value)
{
	size_t length = strlen(name);
	for (const char *at = text; *at != 0;) {
		while (*at == ' ') at++;
		const char *end = at + length;
		if (memcmp(at, name, length) == 0 && (*end == '=' || *end == ' ' || *end == 0)) {
			*value = *end == '=' ? end + 1 : "";
			return true;
		}
		while (*at != 0 && *at != ' ') at++;
	}
	return false;
}

/* Decimal, or hexadecimal after 0x; `*at` is moved behind it. */
u64 parse_number(const char **at)
{
	u64 value = 0;
	bool hexadecimal = (*at)[0] == '0' && (*at)[1] == 'x';
	if (hexadecimal) *at += 2;
	for (;; (*at)++) {
		char c = **at;
		if (c >= '0' && c <= '9') value = value * (hexadecimal ? 16 : 10) + c - '0';
		else if (hexadecimal && c >= 'a' && c <= 'f') value = value * 16 + c - 'a' + 10;
		else return value;
	}
}

u64 option_number(const char *name, u64 otherwise)
{
	const char *value;
	return option(name, &value) && *value != 0 ? parse_number(&value) : otherwise;
}

/* Whether the value of `name` has `word` among its words, divided by commas. */
bool option_lists(const char *name, const char *word)
{
	const char *at;
	size_t length = strlen(word);
	if (!option(name, &at)) return false;
	for (;;) {
		const char *end = at;
		while (*end != 0 && *end != ' ' && *end != ',') end++;
		if ((size_t)(end - at) == length && memcmp(at, word, length) == 0) return true;
		if (*end != ',') return false;
		at = end + 1;
	}
}
