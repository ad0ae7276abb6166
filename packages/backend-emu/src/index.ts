/** @cloister/backend-emu: an emulated x86-64 processor that needs no hardware support. */

export {
  CPU_MODELS,
  type CpuModel,
  type CpuSelection,
  DEFAULT_CPU_MODEL,
  selectCpu,
} from '@cloister/core/cpu';
export { assist, emulatedAssist } from './assist.js';
export { type EmulatedOptions, emulated, emulatedBackend } from './backend.js';
