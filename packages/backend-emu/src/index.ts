/** @cloister/backend-emu: an emulated x86-64 processor that needs no hardware support. */
export { type EmulatedOptions, emulated, emulatedBackend } from './backend.js';
export { CPU_MODELS, type CpuModel, DEFAULT_CPU_MODEL } from './cpuid/models.js';
export { type CpuSelection, selectCpu } from './cpuid/selection.js';
