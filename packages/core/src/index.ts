/**
 * @cloister/core: interfaces, and the assembly of virtual machine monitors from plugins.
 */

export { createVm, type Usable, type VmBuilder } from './assembly/create-vm.js';
export { definePlugin, PLUGIN_API, type PluginDefinition } from './assembly/define-plugin.js';
export { parseSize } from './assembly/options.js';
export * from './assembly/tokens.js';
export { copyExit } from './events/exit-copy.js';
export type {
  InputRecording,
  RecordedEnd,
  RecordingHead,
  ReplaySource,
} from './input/recording.js';
export { decodeRecording } from './input/recording-reader.js';
export { encodeRecording, RecordingWriter } from './input/recording-writer.js';
export * from './interfaces/index.js';
export { type DecodeOptions, decodeSnapshot, encodeSnapshot } from './machine/snapshot-file.js';
export type { Vm, VmOptions, VmSummary } from './machine/vm.js';
export { dmaView, type SlotMemory, slotMemory } from './memory/slot-memory.js';
export { type PageRange, packPages, readPages, unpackPages } from './memory/sparse-pages.js';
export type { PortCount } from './summary/exit-counters.js';
export { type HostPort, systemHost } from './time/host-port.js';
export { type SeededRandom, seededRandom } from './time/random.js';
