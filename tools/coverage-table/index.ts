/** The parts of the coverage table, for `main.mjs`. */
export { executedByBoot, executedByPrograms } from './collect.js';
export { renderCoverage } from './render.js';
export { TableForms } from './table-forms.js';
