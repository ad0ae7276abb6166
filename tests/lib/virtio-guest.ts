// A small driver of one virtio device for KVM, over MMIO or PCI, in protected mode: steps of a
// table, rings and buffers laid out from here. It looks for the device's answers without end, so
// that the host's work has to reach a guest that is busy.
//
// Source: virtio 1.2, 2.7 (split virtqueues), 4.1.4 (PCI structures), 4.2.2 (MMIO registers).
import { boot, flat } from '@cloister/core/boot';

const MIB = 2 ** 20;
const PAGE = 4096;
const TABLE = MIB + PAGE;
const QUEUES = 2 * MIB;
const QUEUE_BYTES = 16 * PAGE;
const ENTRIES = 8;
const BUFFER_BYTES = PAGE;

/** What a step does with its place and value. */
const STEP = { dword: 0, store: 1, wait: 2, end: 3, byte: 4, word: 5, port: 6 } as const;
/** By number, each with EBX the place and EAX the value; EDI is where the registers are. */
const DOES: readonly (readonly number[])[] = [
  [0x89, 0x04, 0x1f], // mov [edi + ebx], eax
  [0x66, 0x89, 0x03], // mov [ebx], ax
  [0x66, 0x3b, 0x03, 0x75, 0xfb], // cmp ax, [ebx]; jne back to it
  [0xe6, 0xf4, 0xeb, 0xfe], // out 0xf4, al; jmp to itself
  [0x88, 0x04, 0x1f], // mov [edi + ebx], al
  [0x66, 0x89, 0x04, 0x1f], // mov [edi + ebx], ax
  [0x89, 0xda, 0xef], // mov edx, ebx; out dx, eax
];

const dword = (value: number) => [0, 8, 16, 24].map((shift) => (value >>> shift) & 255);

/** Takes steps of three words: what, place, value. */
function code(registers: number): number[] {
  const bytes = [
    ...[0xbe, ...dword(TABLE), 0xbf, ...dword(registers)], // mov esi, table; mov edi, registers
    ...[0x8b, 0x0e, 0x8b, 0x5e, 4, 0x8b, 0x46, 8], // next: mov ecx, [esi]; ebx, [esi + 4]; eax, …
    ...[0x83, 0xc6, 12], // add esi, 12
  ];
  const next = 10;
  let place = bytes.length + 3 * (DOES.length - 1);
  DOES.forEach((each, number) => {
    if (number > 0) bytes.push(0x49, 0x74, place - bytes.length - 3); // dec ecx; jz
    place += each.length + 2;
  });
  for (const each of DOES) {
    bytes.push(...each);
    bytes.push(0xeb, (next - bytes.length - 2) & 255); // jmp next
  }
  return bytes;
}

/** Where a transport has what a driver writes: width, place. */
interface Registers {
  readonly base: number;
  readonly status: readonly [number, number];
  /** Selects the upper half of the driver's features, and takes it. */
  readonly features: readonly [number, number];
  readonly queue: readonly [number, number];
  readonly size: readonly [number, number];
  /** Of the first ring's address, and bytes from one to the next. */
  readonly rings: readonly [number, number];
  readonly enable: readonly [number, number];
  /** Where queue `number` is told. */
  notify(number: number): readonly [number, number];
}

const { dword: DWORD, word: WORD, byte: BYTE } = STEP;
const REGISTERS: Readonly<Record<'mmio' | 'pci', Registers>> = {
  mmio: {
    base: 0xd0000000,
    status: [DWORD, 0x70],
    features: [0x24, 0x20],
    queue: [DWORD, 0x30],
    size: [DWORD, 0x38],
    rings: [0x80, 0x10],
    enable: [DWORD, 0x44],
    notify: () => [DWORD, 0x50],
  },
  // The first device's BAR, where the host bridge puts it.
  pci: {
    base: 0xe0000000,
    status: [BYTE, 0x14],
    features: [0x08, 0x0c],
    queue: [WORD, 0x16],
    size: [WORD, 0x18],
    rings: [0x20, 8],
    enable: [WORD, 0x1c],
    notify: (queue) => [WORD, 0x3000 + 4 * queue],
  },
};
/** Device 1 of bus 0: its command register; memory and bus mastering. */
const PCI_COMMAND = 0x8000_0804;
const PCI_ENABLE = 6;

/** A buffer: bytes for the device, or room for so many of its. */
type Buffer = Uint8Array | number;

export class VirtioGuest {
  private readonly bytes = new Uint8Array(QUEUES + 4 * QUEUE_BYTES - MIB);
  private readonly view = new DataView(this.bytes.buffer);
  private readonly steps: (readonly [number, number, number])[] = [];
  private readonly descriptors: number[] = [];
  private readonly chains: number[] = [];

  private readonly registers: Registers;

  /** Resets the device and sets up its first `queues` queues. */
  constructor(queues: number, transport: 'mmio' | 'pci' = 'mmio') {
    const registers = REGISTERS[transport];
    this.registers = registers;
    this.bytes.set(code(registers.base));
    if (transport === 'pci') {
      this.steps.push([STEP.port, 0xcf8, PCI_COMMAND], [STEP.port, 0xcfc, PCI_ENABLE]);
    }
    // Reset, acknowledge, driver; VIRTIO_F_VERSION_1; features ok.
    for (const status of [0, 1, 3]) this.write(registers.status, status);
    for (const place of registers.features) this.write([DWORD, place], 1);
    this.write(registers.status, 11);
    for (let queue = 0; queue < queues; queue++) {
      this.descriptors.push(0);
      this.chains.push(0);
      const rings = this.rings(queue);
      this.write(registers.queue, queue);
      this.write(registers.size, ENTRIES);
      const [first, step] = registers.rings;
      for (let ring = 0; ring < 3; ring++) {
        this.write([DWORD, first + step * ring], rings + ring * PAGE);
      }
      this.write(registers.enable, 1);
    }
    this.write(registers.status, 15);
  }

  /** Gives the device a chain of buffers; the address of each. */
  give(queue: number, ...buffers: readonly Buffer[]): number[] {
    const { registers } = this;
    const rings = this.rings(queue);
    const head = this.descriptors[queue]!;
    const addresses = buffers.map((buffer, index) => {
      const number = head + index;
      const address = rings + (4 + number) * BUFFER_BYTES;
      const own = typeof buffer !== 'number';
      const flags = (index + 1 < buffers.length ? 1 : 0) | (own ? 0 : 2);
      if (own) this.bytes.set(buffer, address - MIB);
      const length = own ? buffer.length : buffer;
      this.words(rings + 16 * number, [address, 0, length, flags | ((number + 1) << 16)]);
      return address;
    });
    this.descriptors[queue] = head + buffers.length;
    const chain = this.chains[queue]!++;
    this.view.setUint16(rings + PAGE + 4 + 2 * chain - MIB, head, true);
    this.steps.push([STEP.store, rings + PAGE + 2, chain + 1]);
    this.write(registers.notify(queue), queue);
    return addresses;
  }

  /** Waits until the device is through with `count` chains. */
  await(queue: number, count: number): void {
    this.steps.push([STEP.wait, this.rings(queue) + 2 * PAGE + 2, count]);
  }

  /** The plugin that boots it; it ends the VM by the debug exit. */
  boot() {
    this.steps.push([STEP.end, 0, 0]);
    this.words(TABLE, this.steps.flat());
    return boot(flat({ image: this.bytes, mode: 'protected' }));
  }

  private write([width, place]: readonly [number, number], value: number): void {
    this.steps.push([width, place, value]);
  }

  private rings(queue: number): number {
    return QUEUES + queue * QUEUE_BYTES;
  }

  private words(at: number, values: readonly number[]): void {
    values.forEach((value, index) => {
      this.view.setUint32(at - MIB + 4 * index, value, true);
    });
  }
}
