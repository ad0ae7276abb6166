// A flat guest in real mode that wakes every other CPU, by x2APIC. All then count for ever, the
// first at 0x6000, the others at 0x6004; the first of those writes to port 0x81 before.

/** mov ecx, index; mov eax, value; wrmsr */
const msr = (index, value) => [0x66, 0xb9, ...index, ...value, 0x0f, 0x30];
const eax = (value) => [0x66, 0xb8, ...[0, 8, 16, 24].map((bit) => (value >>> bit) & 0xff)];

const FIRST = [
  ...[0x31, 0xc0, 0x8e, 0xd8], // xor ax, ax; mov ds, ax
  ...[0x66, 0xb9, 0x1b, 0, 0, 0, 0x0f, 0x32], // mov ecx, APIC base; rdmsr
  ...[0x66, 0x0d, 0, 0x0c, 0, 0, 0x0f, 0x30], // or eax, x2APIC; wrmsr
  ...[0x66, 0x31, 0xd2], // xor edx, edx
  ...msr([0x0f, 8, 0, 0], eax(0x1ff)), // the APIC's software enable
  ...msr([0x30, 8, 0, 0], eax(0xc4500)), // INIT to all others
  ...msr([0x30, 8, 0, 0], eax(0xc4608)), // SIPI: 0x8000
  ...[0x66, 0xff, 0x06, 0x00, 0x60, 0xeb, 0xf9], // inc dword [0x6000], for ever
];
const OTHERS = [0xe6, 0x81, 0x66, 0xff, 0x06, 0x04, 0x60, 0xeb, 0xf9];

/** Loaded at 0x7c00; the other CPUs execute `others`. */
export function smpImage(others = OTHERS) {
  const image = new Uint8Array(0x420);
  image.set(FIRST);
  image.set(others, 0x400);
  return image;
}
