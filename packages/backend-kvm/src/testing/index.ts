/**
 * @cloister/backend-kvm/testing: a scripted kernel, and small VMs on it or on the real one.
 */
export * from './fake-sys.js';
export * from './machines.js';
