/*
 * Paravirtual IN and OUT: the plain instructions are overwritten by calls, and put back. A call
 * knows the port and the data already, so that it goes to the host without an exception and
 * without decoding anything.
 */
#include "guest.h"

struct io_site {
	u8 *at;
	const void *call;
};

#define SITE_SIZE 5
#define CALL 0xe8
#define SITES_MAX 256

extern const struct io_site io_sites[], io_sites_end[];
bool paravirtual_io;
static u8 plain[SITES_MAX][SITE_SIZE];

/* Returns how many places were changed. */
u32 patch_io(bool paravirtual)
{
	u32 count = io_sites_end - io_sites;
	if (paravirtual == paravirtual_io || count > SITES_MAX) return 0;
	for (u32 i = 0; i < count; i++) {
		u8 *at = io_sites[i].at;
		if (paravirtual) {
			s32 distance = (u64)io_sites[i].call - (u64)(at + SITE_SIZE);
			memcpy(plain[i], at, SITE_SIZE);
			at[0] = CALL;
			memcpy(at + 1, &distance, sizeof distance);
		} else {
			memcpy(at, plain[i], SITE_SIZE);
		}
	}
	paravirtual_io = paravirtual;
	return count;
}
