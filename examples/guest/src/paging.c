/*
 * The guest's page tables: the first 4 GiB mapped to themselves. RAM is private, but for the pages
 * of the section .shared; the devices' addresses beyond it have no C-bit. The first 4 MiB, where
 * the guest lies, have 4 KiB pages, the rest 2 MiB pages.
 *
 * Source: AMD APM vol. 2, 5.3; 15.34.1 for the C-bit, which tables have at each level.
 */
#include "cpu.h"

enum { P = 1, RW = 2, A = 0x20, D = 0x40, PS = 0x80 };
#define TABLE (P | RW | A)
#define PAGE (P | RW | A | D)
#define LARGE 0x200000ull
#define SMALL_TABLES 2
#define ADDRESS 0x000ffffffffff000ull

typedef u64 table[512] __attribute__((aligned(PAGE_SIZE)));

extern u8 shared_start[], shared_end[];
static table pml4, pdpt, pds[4], pts[SMALL_TABLES];

static u64 entry(const void *address, u64 flags)
{
	return (u64)address | machine.c_bit | flags;
}

static bool is_shared(u64 address)
{
	return address >= (u64)shared_start && address < (u64)shared_end;
}

void paging_start(void)
{
	pml4[0] = entry(pdpt, TABLE);
	for (u64 i = 0; i < 4; i++) pdpt[i] = entry(pds[i], TABLE);
	for (u64 i = 0; i < 4 * 512; i++) {
		u64 address = i * LARGE;
		u64 c_bit = address < machine.ram_end ? machine.c_bit : 0;
		pds[i / 512][i % 512] = address | PAGE | PS | c_bit;
	}
	for (u64 i = 0; i < SMALL_TABLES * 512; i++) {
		u64 address = i * PAGE_SIZE;
		pts[i / 512][i % 512] = address | PAGE | (is_shared(address) ? 0 : machine.c_bit);
	}
	for (u64 i = 0; i < SMALL_TABLES; i++) pds[0][i] = entry(pts[i], TABLE);
	write_cr3((u64)pml4 | machine.c_bit);
	memset(shared_start, 0, shared_end - shared_start);
}

/* The guest-physical address of `address`, C-bit and all, by a walk of the tables in use. */
static u64 translate(u64 address)
{
	u64 found = read_cr3();
	for (int shift = 39; shift >= 12; shift -= 9) {
		const u64 *at = (const u64 *)(found & ADDRESS & ~machine.c_bit);
		found = at[(address >> shift) & 511];
		if ((found & P) == 0) return ~0ull;
		u64 offset = (1ull << shift) - 1;
		if (shift == 12 || (found & PS) != 0) return (found & ADDRESS & ~offset) | (address & offset);
	}
	return ~0ull;
}

/* The same without the C-bit: what the host understands. All ones where nothing is mapped. */
u64 physical(u64 address)
{
	u64 found = translate(address);
	return found == ~0ull ? found : found & ~machine.c_bit;
}

/* Changes how the guest sees a page of its own memory; what is in it then makes no sense. */
void set_private(void *page, bool private)
{
	u64 index = (u64)page / PAGE_SIZE;
	u64 *at = &pts[index / 512][index % 512];
	*at = private ? *at | machine.c_bit : *at & ~machine.c_bit;
	asm volatile("invlpg (%0)" : : "r"(page) : "memory");
}
