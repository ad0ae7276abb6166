/** What tests of plugins and of Cloister itself use: conformance kits and fakes. */

export * from './backend-kit.js';
export * from './canonical.js';
export { corpusEntry } from './corpus/entry.js';
export { corpusHost } from './corpus/host.js';
export { CORPUS_IMAGES } from './corpus/images.js';
export * from './corpus/program.js';
export { CORPUS, DRIVEN, HOSTILE, PROBES, RANDOM_AT, RANDOM_SIZE } from './corpus/programs.js';
export {
  decodeImage,
  type ProgramOptions,
  type ProgramOutcome,
  runProgram,
} from './corpus/run-program.js';
export * from './device-kit.js';
export { KitPorts } from './device-kit-ports.js';
export * from './fake-backend.js';
export { FakeHost } from './fake-host.js';
export { type FakeOp, type FakeProgram, print } from './fake-program.js';
export type { FakeVcpu } from './fake-vcpu.js';
export * from './fakes.js';
export { type HostileSubject, hostileGuests } from './hostile-guests.js';
export * from './paging/index.js';
export * from './trace.js';
export { TrustDomain, type TrustDomainOptions } from './trust-domain.js';
