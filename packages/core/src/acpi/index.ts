/** ACPI tables, and the fixed hardware that they describe. */
export * as aml from './aml.js';
export * as amlResources from './aml-resources.js';
export { PC_NODES } from './dsdt.js';
export * from './fixed-hardware.js';
export { type InterruptControllers, pcInterrupts } from './madt.js';
export { type AcpiOptions, type AcpiTables, acpiTables } from './tables.js';
