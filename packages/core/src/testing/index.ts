/** What tests of plugins and of Cloister itself use: conformance kits and fakes. */
export * from './device-kit.js';
export { KitPorts } from './device-kit-ports.js';
export * from './fakes.js';
