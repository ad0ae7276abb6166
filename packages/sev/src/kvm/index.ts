/**
 * `@cloister/sev/kvm`: what Linux' KVM and /dev/sev take from a VMM that launches protected guests.
 */
export * from './psp-device.js';
export * from './sev-commands.js';
