// A small driver of one virtio-mmio device for KVM, in protected mode: steps of a table, rings and
// buffers laid out from here. It looks for the device's answers without end, so that the host's
// work has to reach a guest that is busy.
//
// Source: virtio 1.2, 2.7 (split virtqueues) and 4.2.2 (registers).
import { boot, flat } from '@cloister/core/boot';

const MIB = 2 ** 20;
const PAGE = 4096;
const REGISTERS = 0xd0000000;
const TABLE = MIB + PAGE;
const QUEUES = 2 * MIB;
const QUEUE_BYTES = 16 * PAGE;
const ENTRIES = 8;
const BUFFER_BYTES = PAGE;

const dword = (value: number) => [0, 8, 16, 24].map((shift) => (value >>> shift) & 255);

// Steps: what, where, value. What: 0 writes a register, 1 puts a word into memory, 2 waits until
// the word there is the value, 3 ends.
const CODE = [
  0xbe, ...dword(TABLE), 0xbf, ...dword(REGISTERS), // mov esi, table; mov edi, registers
  0x8b, 0x0e, 0x8b, 0x5e, 4, 0x8b, 0x46, 8, // next: mov ecx, [esi]; ebx, [esi + 4]; eax, [esi + 8]
  0x83, 0xc6, 12, // add esi, 12
  0x49, 0x74, 11, 0x49, 0x74, 13, 0x49, 0x74, 17, // dec ecx; jz store; jz wait; jz end
  0x89, 0x04, 0x1f, 0xeb, 0xe7, // mov [edi + ebx], eax; jmp next
  0x66, 0x89, 0x03, 0xeb, 0xe2, // store: mov [ebx], ax; jmp next
  0x66, 0x3b, 0x03, 0x75, 0xfb, 0xeb, 0xdb, // wait: cmp ax, [ebx]; jne wait; jmp next
  0xe6, 0xf4, 0xeb, 0xfe, // end: out 0xf4, al; jmp to itself
]; // biome-ignore format: instructions

/** A buffer: bytes for the device, or room for so many of its. */
type Buffer = Uint8Array | number;

export class VirtioGuest {
  private readonly bytes = new Uint8Array(QUEUES + 4 * QUEUE_BYTES - MIB);
  private readonly view = new DataView(this.bytes.buffer);
  private readonly steps: (readonly [number, number, number])[] = [];
  private readonly descriptors: number[] = [];
  private readonly chains: number[] = [];

  /** Resets the device and sets up its first `queues` queues. */
  constructor(queues: number) {
    this.bytes.set(CODE);
    // Reset, acknowledge, driver; VIRTIO_F_VERSION_1; features ok.
    for (const status of [0, 1, 3]) this.register(0x70, status);
    this.register(0x24, 1);
    this.register(0x20, 1);
    this.register(0x70, 11);
    for (let queue = 0; queue < queues; queue++) {
      this.descriptors.push(0);
      this.chains.push(0);
      const rings = this.rings(queue);
      this.register(0x30, queue);
      this.register(0x38, ENTRIES);
      for (let ring = 0; ring < 3; ring++) this.register(0x80 + 0x10 * ring, rings + ring * PAGE);
      this.register(0x44, 1);
    }
    this.register(0x70, 15);
  }

  /** Gives the device a chain of buffers; the address of each. */
  give(queue: number, ...buffers: readonly Buffer[]): number[] {
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
    this.steps.push([1, rings + PAGE + 2, chain + 1]);
    this.register(0x50, queue);
    return addresses;
  }

  /** Waits until the device is through with `count` chains. */
  await(queue: number, count: number): void {
    this.steps.push([2, this.rings(queue) + 2 * PAGE + 2, count]);
  }

  /** The plugin that boots it; it ends the VM by the debug exit. */
  boot() {
    this.steps.push([3, 0, 0]);
    this.words(TABLE, this.steps.flat());
    return boot(flat({ image: this.bytes, mode: 'protected' }));
  }

  private register(offset: number, value: number): void {
    this.steps.push([0, offset, value]);
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
