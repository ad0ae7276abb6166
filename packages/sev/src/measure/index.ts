/**
 * `@cloister/sev/measure`: what a launch must measure.
 */
export type { Hasher, Hashes } from '../hash/port.js';
