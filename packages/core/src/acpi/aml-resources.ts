/**
 * Resource descriptors for `_CRS`: what a device occupies.
 *
 * Source: ACPI 6.5, 6.4.2 (small resource items) and 6.4.3 (large resource items).
 */
import { VmmError } from '../interfaces/error.js';
import { type Aml, buffer, concat } from './aml.js';

const END_TAG = 0x79;

function descriptor(length: number, fill: (view: DataView) => void): Uint8Array {
  const bytes = new Uint8Array(length);
  fill(new DataView(bytes.buffer));
  return bytes;
}

/** The end tag's checksum of 0 means "not checked". */
export function resourceTemplate(...descriptors: readonly Uint8Array[]): Aml {
  return buffer(concat(...descriptors, Uint8Array.of(END_TAG, 0)));
}

/** IO (Decode16, base, base, 1, length). */
export function io(base: number, length: number): Uint8Array {
  if (!(base >= 0 && length >= 1 && length <= 0xff && base + length <= 0x10000)) {
    throw new VmmError('invalid-argument', `ACPI: no I/O range ${base}, ${length}`, {
      remedy: 'give at most 255 ports below 0x10000',
    });
  }
  return descriptor(8, (view) => {
    view.setUint8(0, 0x47);
    view.setUint8(1, 1); // decodes 16 bits
    view.setUint16(2, base, true);
    view.setUint16(4, base, true);
    view.setUint8(6, 1);
    view.setUint8(7, length);
  });
}

/** IRQNoFlags () {irq}: edge-triggered, active-high, an ISA interrupt. */
export function irqNoFlags(irq: number): Uint8Array {
  if (!(irq >= 0 && irq <= 15)) throw new VmmError('invalid-argument', `ACPI: no ISA IRQ ${irq}`);
  return descriptor(3, (view) => {
    view.setUint8(0, 0x22);
    view.setUint16(1, 1 << irq, true);
  });
}

/** Interrupt (ResourceConsumer, Level | Edge, ActiveHigh, Exclusive) {gsi}. */
export function interrupt(gsi: number, trigger: 'level' | 'edge'): Uint8Array {
  if (!Number.isInteger(gsi) || gsi < 0 || gsi >= 2 ** 32) {
    throw new VmmError('invalid-argument', `ACPI: no GSI ${gsi}`);
  }
  return descriptor(9, (view) => {
    view.setUint8(0, 0x89);
    view.setUint16(1, 6, true);
    view.setUint8(3, 1 | (trigger === 'edge' ? 2 : 0));
    view.setUint8(4, 1);
    view.setUint32(5, gsi, true);
  });
}

/** Memory32Fixed (ReadWrite, base, length), or a QWordMemory above 4 GiB. */
export function memory(base: number, length: number): Uint8Array {
  if (!Number.isSafeInteger(base) || base < 0 || !Number.isSafeInteger(length) || length < 1) {
    throw new VmmError('invalid-argument', `ACPI: no memory range ${base}, ${length}`);
  }
  if (base + length <= 2 ** 32) {
    return descriptor(12, (view) => {
      view.setUint8(0, 0x86);
      view.setUint16(1, 9, true);
      view.setUint8(3, 1);
      view.setUint32(4, base, true);
      view.setUint32(8, length, true);
    });
  }
  return descriptor(46, (view) => {
    view.setUint8(0, 0x8a);
    view.setUint16(1, 43, true);
    view.setUint8(3, 0); // memory range
    view.setUint8(4, 0x0d); // consumer, fixed minimum and maximum
    view.setUint8(5, 1); // read-write, not cacheable
    view.setBigUint64(14, BigInt(base), true);
    view.setBigUint64(22, BigInt(base + length - 1), true);
    view.setBigUint64(38, BigInt(length), true);
  });
}

/** A window that a bridge passes on: produced, at a fixed place. */
const PRODUCED_FIXED = 0x0c;

/** WordBusNumber (ResourceProducer, fixed): the bus numbers behind a host bridge. */
export function busNumbers(first: number, last: number): Uint8Array {
  if (!(first >= 0 && first <= last && last <= 0xff)) {
    throw new VmmError('invalid-argument', `ACPI: no bus numbers ${first} to ${last}`);
  }
  return descriptor(16, (view) => {
    view.setUint8(0, 0x88);
    view.setUint16(1, 13, true);
    view.setUint8(3, 2); // bus number range
    view.setUint8(4, PRODUCED_FIXED);
    view.setUint16(8, first, true);
    view.setUint16(10, last, true);
    view.setUint16(14, last - first + 1, true);
  });
}

/** DWordMemory (ResourceProducer, fixed, not cacheable, read-write): a bridge's memory window. */
export function memoryWindow(base: number, length: number): Uint8Array {
  if (!(base >= 0 && length >= 1 && base + length <= 2 ** 32)) {
    throw new VmmError('invalid-argument', `ACPI: no memory window ${base}, ${length}`);
  }
  return descriptor(26, (view) => {
    view.setUint8(0, 0x87);
    view.setUint16(1, 23, true);
    view.setUint8(3, 0); // memory range
    view.setUint8(4, PRODUCED_FIXED);
    view.setUint8(5, 1); // read-write
    view.setUint32(10, base, true);
    view.setUint32(14, base + length - 1, true);
    view.setUint32(22, length, true);
  });
}
