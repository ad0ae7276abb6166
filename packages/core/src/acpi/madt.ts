/**
 * The MADT: processors and interrupt controllers.
 *
 * Source: ACPI 6.5, 5.2.12 (structures 0, 1, 2, 4, 9, 0xA). APIC ids equal CPU indices; ids from
 * 255 on need x2APIC structures.
 */
import { IOAPIC_BASE, IOAPIC_ID, LOCAL_APIC_BASE, TIMER_GSI } from './fixed-hardware.js';
import { table } from './table.js';

/** There are two 8259s beside the APICs. */
const PCAT_COMPAT = 1;
const ENABLED = 1;
/** MPS INTI flags: active-high, level-triggered. */
const HIGH_LEVEL = 0x0d;
/** Highest id that an 8-bit APIC id can hold; 255 is the broadcast. */
const LAST_XAPIC_ID = 254;

function structure(length: number, type: number, fill: (view: DataView) => void): Uint8Array {
  const bytes = new Uint8Array(length);
  const view = new DataView(bytes.buffer);
  view.setUint8(0, type);
  view.setUint8(1, length);
  fill(view);
  return bytes;
}

function processor(id: number): Uint8Array {
  if (id <= LAST_XAPIC_ID) {
    return structure(8, 0, (view) => {
      view.setUint8(2, id);
      view.setUint8(3, id);
      view.setUint32(4, ENABLED, true);
    });
  }
  return structure(16, 9, (view) => {
    view.setUint32(4, id, true);
    view.setUint32(8, ENABLED, true);
    view.setUint32(12, id, true);
  });
}

function ioapic(): Uint8Array {
  return structure(12, 1, (view) => {
    view.setUint8(2, IOAPIC_ID);
    view.setUint32(4, IOAPIC_BASE, true);
    view.setUint32(8, 0, true);
  });
}

/** An ISA interrupt that isn't wired to the input of its number, edge-triggered, active-high. */
function override(irq: number, gsi: number, flags: number): Uint8Array {
  return structure(10, 2, (view) => {
    view.setUint8(3, irq);
    view.setUint32(4, gsi, true);
    view.setUint16(8, flags, true);
  });
}

/** NMI arrives at LINT1 of every local APIC. */
function localNmi(): Uint8Array {
  return structure(6, 4, (view) => {
    view.setUint8(2, 0xff);
    view.setUint8(5, 1);
  });
}

function localX2apicNmi(): Uint8Array {
  return structure(12, 0xa, (view) => {
    view.setUint32(4, 0xffffffff, true);
    view.setUint8(8, 1);
  });
}

/** `sci` is the SCI's GSI. */
export function madt(cpus: number, sci: number): Uint8Array {
  const structures: Uint8Array[] = [];
  for (let id = 0; id < cpus; id += 1) structures.push(processor(id));
  structures.push(ioapic(), override(0, TIMER_GSI, 0), override(sci, sci, HIGH_LEVEL));
  structures.push(localNmi());
  if (cpus - 1 > LAST_XAPIC_ID) structures.push(localX2apicNmi());

  const length = structures.reduce((sum, { length }) => sum + length, 8);
  const body = new Uint8Array(length);
  const view = new DataView(body.buffer);
  view.setUint32(0, LOCAL_APIC_BASE, true);
  view.setUint32(4, PCAT_COMPAT, true);
  let at = 8;
  for (const bytes of structures) {
    body.set(bytes, at);
    at += bytes.length;
  }
  return table('APIC', 5, body);
}
