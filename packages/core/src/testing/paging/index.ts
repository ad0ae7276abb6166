/** Accesses through every paging structure, on any backend, against a reference walk. */
export * from './cases.js';
export * from './driver.js';
export * from './reference.js';
export * from './structures.js';
