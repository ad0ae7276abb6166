/** What tests of plugins and of Cloister itself use: conformance kits and fakes. */
export * from './device-kit.js';
export { KitPorts } from './device-kit-ports.js';
export * from './fake-backend.js';
export { FakeHost } from './fake-host.js';
export { type FakeOp, type FakeProgram, print } from './fake-program.js';
export type { FakeVcpu } from './fake-vcpu.js';
export * from './fakes.js';
export * from './trace.js';
