// A guest of 30 bytes of code that writes a text to the serial line and switches the machine off.

const BOOT_SECTOR = 0x7c00;
// biome-ignore format: one instruction on a line
const CODE = [
  0x31, 0xc0,       // xor ax, ax
  0x8e, 0xd8,       // mov ds, ax
  0xfc,             // cld
  0xbe, 0, 0,       // mov si, TEXT
  0xba, 0xfd, 0x03, // next: mov dx, 0x3fd
  0xec,             // in al, dx         line status
  0xa8, 0x20,       // test al, 0x20     transmitter empty?
  0x74, 0xf8,       // jz next
  0xac,             // lodsb
  0x84, 0xc0,       // test al, al
  0x74, 0x06,       // jz off
  0xba, 0xf8, 0x03, // mov dx, 0x3f8
  0xee,             // out dx, al
  0xeb, 0xed,       // jmp next
  0xba, 0x04, 0x06, // off: mov dx, 0x604 PM1a control
  0xb8, 0x00, 0x34, // mov ax, 0x3400    sleep type 5, sleep enable
  0xef,             // out dx, ax
  0xf4,             // hlt
];

/** The guest as a boot sector in real mode. */
export function guest(text) {
  const code = Uint8Array.from([...CODE, ...new TextEncoder().encode(text), 0]);
  new DataView(code.buffer).setUint16(6, BOOT_SECTOR + CODE.length, true);
  return code;
}
