/**
 * `@cloister/sev/attest`: attestation reports.
 */
export type { Hashes } from '../hash/port.js';
