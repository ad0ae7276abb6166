/*
 * The instructions that #VC meets, decoded from memory at RIP: prefixes, opcode, ModRM, operand
 * address and immediate. 64-bit code only, and without segment bases, which the guest doesn't use.
 *
 * Source: AMD APM vol. 3, chapter 1.
 */
#include "guest.h"

static bool takes_modrm(u16 opcode)
{
	switch (opcode) {
	case 0x88 ... 0x8b: /* MOV */
	case 0xc6: case 0xc7:
	case 0x0f21: case 0x0f23: /* MOV of debug registers */
	case 0x0fb6: case 0x0fb7: /* MOVZX */
	case 0x0fbe: case 0x0fbf: /* MOVSX */
	case 0x0f01: /* VMMCALL, MONITOR, RDTSCP... */
		return true;
	}
	return false;
}

static u32 immediate_size(const struct instruction *in)
{
	switch (in->opcode) {
	case 0xc6: case 0xe4 ... 0xe7:
		return 1;
	case 0xc7:
		return in->prefix_66 ? 2 : 4;
	}
	return 0;
}

static u64 get(const u8 *at, u32 size)
{
	u64 value = 0;
	memcpy(&value, at, size);
	if (size == 1) return (s64)(s8)value;
	if (size == 2) return (s64)(s16)value;
	return size == 4 ? (u64)(s64)(s32)value : value;
}

/* The operand in memory, without RIP where that is its base. Returns the bytes taken. */
static u32 operand(struct instruction *in, const struct frame *frame, const u8 *at)
{
	const u8 *start = at;
	u32 base = in->rm | (in->rex & 1) << 3;
	in->address = 0;
	if (in->rm == 4) {
		u8 sib = *at++;
		u32 index = (sib >> 3 & 7) | (in->rex & 2) << 2;
		base = (sib & 7) | (in->rex & 1) << 3;
		if (index != 4) in->address = frame->reg[index] << (sib >> 6);
		if ((sib & 7) == 5 && in->mod == 0) {
			in->address += get(at, 4);
			return at + 4 - start;
		}
	} else if (in->rm == 5 && in->mod == 0) {
		in->address = get(at, 4);
		in->rip_relative = true;
		return at + 4 - start;
	}
	in->address += frame->reg[base];
	if (in->mod == 1) in->address += get(at++, 1);
	if (in->mod == 2) in->address += get(at, 4), at += 4;
	return at - start;
}

void decode(struct instruction *in, const struct frame *frame)
{
	const u8 *start = (const u8 *)frame->rip, *at = start;
	memset(in, 0, sizeof *in);
	for (;; at++) {
		if (*at == 0x66) in->prefix_66 = 1;
		else if (*at == 0xf2 || *at == 0xf3) in->prefix_rep = *at;
		else if (*at != 0x2e && *at != 0x36 && *at != 0x3e && *at != 0x26) break;
	}
	if ((*at & 0xf0) == 0x40) in->rex = *at++;
	in->opcode = *at++;
	if (in->opcode == 0x0f) in->opcode = 0x0f00 | *at++;
	if (takes_modrm(in->opcode)) {
		u8 modrm = *at++;
		in->mod = modrm >> 6;
		in->rm = modrm & 7;
		in->reg = (modrm >> 3 & 7) | (in->rex & 4) << 1;
		if (in->mod != 3 && in->opcode != 0x0f21 && in->opcode != 0x0f23) at += operand(in, frame, at);
	}
	/* MOV of RAX and an address that stands in the instruction. */
	if (in->opcode >= 0xa0 && in->opcode <= 0xa3) in->address = get(at, 8), at += 8;
	u32 size = immediate_size(in);
	in->immediate = get(at, size);
	in->length = at + size - start;
	if (in->rip_relative) in->address += frame->rip + in->length;
}
