/**
 * The DSDT: devices that a guest cannot discover by itself.
 *
 * Source: ACPI 6.5, 5.2.11.1 (DSDT), 6.1 (identification), 6.2.2 (_CRS), 7.4.2 (\_Sx), 8.4
 * (processor devices, ACPI0007). Data only, no methods: nothing changes at run time.
 */
import { VmmError } from '../interfaces/error.js';
import type { AcpiDeviceNode } from '../interfaces/plugin.js';
import { type Aml, concat, device, hardwareId, integer, name, pkg, scope } from './aml.js';
import { interrupt, io, irqNoFlags, memory, resourceTemplate } from './aml-resources.js';
import { table } from './table.js';

/**
 * Devices of the platform itself, which no plugin adds one by one; serial ports and virtio slots
 * describe themselves. A node of the same name takes the place of one of these.
 */
export const PC_NODES: readonly AcpiDeviceNode[] = [
  { name: 'RTC_', hid: 'PNP0B00', uid: 0, io: { base: 0x70, length: 2 }, gsi: 8, edge: true },
  { name: 'TIMR', hid: 'PNP0100', uid: 0, io: { base: 0x40, length: 4 }, gsi: 0, edge: true },
];

/** A device's object: identification and resources. */
function deviceNode(node: AcpiDeviceNode): Aml {
  const resources: Uint8Array[] = [...(node.resources ?? [])];
  if (node.io !== undefined) resources.push(io(node.io.base, node.io.length));
  if (node.mmio !== undefined) resources.push(memory(node.mmio.base, node.mmio.length));
  if (node.gsi !== undefined) {
    // Drivers of ISA devices look for the ISA form.
    const isa = node.edge === true && node.gsi < 16;
    resources.push(
      isa ? irqNoFlags(node.gsi) : interrupt(node.gsi, node.edge === true ? 'edge' : 'level'),
    );
  }
  return device(
    node.name,
    name('_HID', hardwareId(node.hid)),
    name('_UID', integer(node.uid)),
    ...(resources.length === 0 ? [] : [name('_CRS', resourceTemplate(...resources))]),
  );
}

/** A processor's object; _UID is the id that the MADT gives. */
function processorNode(index: number): Aml {
  const suffix = index.toString(16).toUpperCase().padStart(3, '0');
  return device(`C${suffix}`, name('_HID', hardwareId('ACPI0007')), name('_UID', integer(index)));
}

/** The sum of what is fixed and what plugins add; two nodes of one name are an error. */
export function mergeNodes(nodes: readonly AcpiDeviceNode[]): AcpiDeviceNode[] {
  const names = new Set<string>();
  for (const { name } of nodes) {
    const key = name.padEnd(4, '_');
    if (names.has(key)) {
      throw new VmmError('plugin-conflict', `two ACPI nodes have the name ${name}`);
    }
    if (/^C[0-9A-F]{3}$/.test(key)) {
      throw new VmmError('invalid-argument', `ACPI node ${name}: the name is a processor's`);
    }
    names.add(key);
  }
  return [...PC_NODES.filter(({ name }) => !names.has(name)), ...nodes];
}

/** `s5` is the SLP_TYP of soft off. */
export function dsdt(cpus: number, nodes: readonly AcpiDeviceNode[], s5: number): Uint8Array {
  const processors = Array.from({ length: cpus }, (_, index) => processorNode(index));
  const sleep = [s5, 0, 0, 0].map((value) => integer(value));
  const body = concat(
    scope('\\_SB', ...processors, ...nodes.map(deviceNode)),
    name('\\_S5', pkg(...sleep)),
  );
  return table('DSDT', 2, body);
}
