/**
 * The MADT: processors and interrupt controllers.
 *
 * Source: ACPI 6.5, 5.2.12 (structures 0, 1, 2, 4, 9, 0xA; table 5.26, MPS INTI flags). APIC ids
 * equal CPU indices; ids from 255 on need x2APIC structures.
 */
import type {
  InterruptRouter,
  IoApicDescription,
  IsaOverride,
} from '../interfaces/interrupt-router.js';
import { IOAPIC_BASE, IOAPIC_ID, LOCAL_APIC_BASE, SCI_GSI, TIMER_GSI } from './fixed-hardware.js';
import { table } from './table.js';

/** Flag: there are two 8259s beside the APICs. */
const PCAT_COMPAT = 1;
const ENABLED = 1;
/** MPS INTI flags; all zero means the bus's own: edge-triggered, active-high. */
const ACTIVE_HIGH = 1;
const ACTIVE_LOW = 3;
const EDGE = 1 << 2;
const LEVEL = 3 << 2;
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

function ioapic({ id, address, gsiBase }: IoApicDescription): Uint8Array {
  return structure(12, 1, (view) => {
    view.setUint8(2, id);
    view.setUint32(4, address, true);
    view.setUint32(8, gsiBase, true);
  });
}

function inti({ activeLow, level }: IsaOverride): number {
  if (!activeLow && !level) return 0;
  return (activeLow ? ACTIVE_LOW : ACTIVE_HIGH) | (level ? LEVEL : EDGE);
}

/** An ISA interrupt that isn't wired to the input of its number, edge-triggered, active-high. */
function override(isa: IsaOverride): Uint8Array {
  return structure(10, 2, (view) => {
    view.setUint8(3, isa.irq);
    view.setUint32(4, isa.gsi, true);
    view.setUint16(8, inti(isa), true);
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

/** What the MADT says about interrupt controllers. */
export type InterruptControllers = Pick<InterruptRouter, 'pic' | 'ioApics' | 'overrides'>;

/** A PC's: an i8259 pair, one IOAPIC, the timer on its input 2, a level-triggered SCI. */
export function pcInterrupts(sci = SCI_GSI): InterruptControllers {
  return {
    pic: true,
    ioApics: [{ id: IOAPIC_ID, address: IOAPIC_BASE, gsiBase: 0, pins: 24 }],
    overrides: [
      { irq: 0, gsi: TIMER_GSI, activeLow: false, level: false },
      { irq: sci, gsi: sci, activeLow: false, level: true },
    ],
  };
}

export function madt(cpus: number, interrupts: InterruptControllers): Uint8Array {
  const structures: Uint8Array[] = [];
  for (let id = 0; id < cpus; id += 1) structures.push(processor(id));
  structures.push(...interrupts.ioApics.map(ioapic), ...interrupts.overrides.map(override));
  structures.push(localNmi());
  if (cpus - 1 > LAST_XAPIC_ID) structures.push(localX2apicNmi());

  const length = structures.reduce((sum, { length }) => sum + length, 8);
  const body = new Uint8Array(length);
  const view = new DataView(body.buffer);
  view.setUint32(0, LOCAL_APIC_BASE, true);
  view.setUint32(4, interrupts.pic ? PCAT_COMPAT : 0, true);
  let at = 8;
  for (const bytes of structures) {
    body.set(bytes, at);
    at += bytes.length;
  }
  return table('APIC', 5, body);
}
