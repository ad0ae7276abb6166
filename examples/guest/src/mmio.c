/*
 * #VC 400: an access to a device's registers. The nested page fault tells the host nothing that it
 * could use, so the guest decodes its own instruction, walks its own tables, and asks by name.
 *
 * Source: GHCB specification (56421), 4.1.5 "MMIO access".
 */
#include "ghcb.h"

static u64 masked(u64 value, u32 size)
{
	return size == 8 ? value : value & ((1ull << 8 * size) - 1);
}

static void exchange(u64 code, u64 address, u32 size)
{
	ghcb_begin();
	ghcb_set(GHCB_SCRATCH, (u64)ghcb + GHCB_BUFFER);
	if (ghcb_exit(code, physical(address), size) != 0) ghcb_terminate(code, 0);
}

static u64 mmio_read(u64 address, u32 size)
{
	exchange(EXIT_MMIO_READ, address, size);
	return masked(*(volatile u64 *)(ghcb + GHCB_BUFFER), size);
}

static void mmio_write(u64 address, u32 size, u64 value)
{
	*(volatile u64 *)(ghcb + GHCB_BUFFER) = masked(value, size);
	exchange(EXIT_MMIO_WRITE, address, size);
}

/* Byte registers 4 to 7 are AH, CH, DH, BH where there is no REX. */
static u64 read_register(const struct frame *frame, const struct instruction *in, u32 size)
{
	if (size == 1 && in->rex == 0 && in->reg >= 4) return frame->reg[in->reg - 4] >> 8;
	return frame->reg[in->reg];
}

static void write_register(struct frame *frame, const struct instruction *in, u32 size, u64 value)
{
	u64 *to = &frame->reg[in->reg];
	if (size == 1 && in->rex == 0 && in->reg >= 4) {
		to = &frame->reg[in->reg - 4];
		*to = (*to & ~0xff00ull) | masked(value, 1) << 8;
	} else if (size < 4) {
		*to = (*to & ~((1ull << 8 * size) - 1)) | masked(value, size);
	} else {
		*to = masked(value, size);
	}
}

static u64 extended(u64 value, u32 from)
{
	return from == 1 ? (u64)(s64)(s8)value : (u64)(s64)(s16)value;
}

void handle_mmio(struct frame *frame, const struct instruction *in)
{
	u32 wide = (in->rex & 8) != 0 ? 8 : in->prefix_66 ? 2 : 4;
	u32 size = (in->opcode & 1) != 0 ? wide : 1;
	u32 narrow = (in->opcode & 1) != 0 ? 2 : 1;
	switch (in->opcode) {
	case 0x88: case 0x89: case 0xa2: case 0xa3:
		return mmio_write(in->address, size, read_register(frame, in, size));
	case 0x8a: case 0x8b: case 0xa0: case 0xa1:
		return write_register(frame, in, size, mmio_read(in->address, size));
	case 0xc6: case 0xc7:
		return mmio_write(in->address, size, in->immediate);
	case 0x0fb6: case 0x0fb7:
		return write_register(frame, in, wide, mmio_read(in->address, narrow));
	case 0x0fbe: case 0x0fbf:
		return write_register(frame, in, wide, extended(mmio_read(in->address, narrow), narrow));
	}
	ghcb_terminate(EXIT_NPF, in->opcode);
}
