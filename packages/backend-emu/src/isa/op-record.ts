/**
 * The predecoded instruction: a record of 32 bytes in the op cache, written by the decoder, read by
 * the interpreter's handlers. Little-endian.
 *
 * Register fields hold byte offsets into the vCPU record, so that AH and AL, or an absent base (the
 * ZERO field), need no case of their own.
 */
export const OP_SIZE = 32;

/** u16: number of the handler. */
export const OP_HANDLER = 0;
/** u8: length of the instruction in bytes. */
export const OP_LENGTH = 2;
/** u8: instructions from this one to the end of its block, itself included. */
export const OP_REMAINING = 3;
/** u16: page offset of the next instruction (1 to 4096 + 14). */
export const OP_NEXT = 4;
/** u16: first, second and third register operand. */
export const OP_REG = [6, 8, 22] as const;
/** u16: base and index register, segment base, as offsets into the vCPU record. */
export const OP_BASE = 10;
export const OP_INDEX = 12;
export const OP_SEGMENT = 14;
/** i32: immediate, sign-extended on use. */
export const OP_IMMEDIATE = 16;
/** u8: kind of address computation, see `EA_*`; u8: log2 of the scale. */
export const OP_EA = 20;
export const OP_SCALE = 21;
/** u32, in branches instead of the above: address of the target's record; `LINK_*`. */
export const OP_LINK = 20;
/**
 * i16, in linked branches instead of the first register: instructions of this block that do not
 * run, less those of the target's. What the budget gains.
 */
export const OP_REFUND = 6;
/** i64: displacement; relative to RIP_PAGE for RIP-relative operands and for branches. */
export const OP_DISPLACEMENT = 24;

/** u32, in heads of blocks: slot of the region's function, and which of its entries this is. */
export const OP_REGION = 16;
export const OP_ENTRY = 24;

/** Base + displacement is the whole address when none of these is set. */
export const EA_INDEX = 1;
export const EA_SEGMENT = 2;
/** The offset is cut to 32 or 16 bits. */
export const EA_32 = 4;
export const EA_16 = 8;
/** The segment is checked (not flat): slow. */
export const EA_CHECKED = 16;
/** The linear address is cut to 32 bits (outside 64-bit mode). */
export const EA_LINEAR_32 = 32;

/** Branch links: never to be linked, not linked yet; larger values are record addresses. */
export const LINK_NEVER = 0;
export const LINK_UNRESOLVED = 1;
