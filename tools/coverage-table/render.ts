/**
 * The coverage table as a page: a summary, then a line for each row of the instruction table.
 */
import { formText, type TableForm, type TableForms } from './table-forms.js';

/** What was seen to execute, as texts of forms. */
export interface Executed {
  /** What booted. */
  readonly kernel: string;
  readonly programs: readonly string[];
  readonly boot: readonly string[];
}

interface Line {
  readonly row: string;
  readonly forms: TableForm[];
}

/** `32r` is a form with 32-bit operands in registers, or none; `32m` has one in memory. */
function tokens(forms: readonly TableForm[]): string {
  return forms.map(({ size, memory }) => `${size}${memory ? 'm' : 'r'}`).join(' ');
}

function cell(forms: readonly TableForm[], covered: ReadonlySet<string>): string {
  const found = forms.filter((form) => covered.has(formText(form)));
  if (found.length === forms.length) return 'all';
  return found.length === 0 ? '' : tokens(found);
}

const escaped = (text: string): string => text.replaceAll('|', '\\|');

function lines(table: TableForms): Line[] {
  const found = new Map<string, Line>();
  for (const form of table.forms.values()) {
    const line = found.get(form.row) ?? { row: form.row, forms: [] };
    line.forms.push(form);
    found.set(form.row, line);
  }
  for (const { forms } of found.values()) {
    forms.sort((a, b) => Number(a.memory) - Number(b.memory) || a.size - b.size);
  }
  return [...found.values()];
}

const percent = (part: number, whole: number): string => `${Math.round((100 * part) / whole)} %`;

export function renderCoverage(table: TableForms, executed: Executed): string {
  const total = table.forms.size;
  const programs = new Set(executed.programs);
  const boot = new Set(executed.boot);
  const none = [...table.forms.keys()].filter(
    (text) => !table.native.has(text) && !programs.has(text) && !boot.has(text),
  );
  const summary = [
    ['compared with a processor', table.native.size],
    ['executed by a program of the corpus', programs.size],
    ['executed in the boot of Linux', boot.size],
    ['none of these', none.length],
  ] as const;
  return `${[
    '# Instruction coverage',
    '',
    'Made by `npm run coverage-table` from the instruction table; a test finds it out of date.',
    'A form is a row of the table with an operand size and a kind of operand: `32r` has 32-bit',
    'operands in registers, immediates or none, `32m` has one in memory that ModRM names. The',
    'native comparison runs where the host has the instruction, in 64-, 32- and 16-bit code; what',
    'it leaves out, and why, is in `tools/native-oracle/exclusions.ts`. Booted was',
    `${executed.kernel}.`,
    '',
    `| of ${total} forms | number | |`,
    '|---|---|---|',
    ...summary.map(([name, count]) => `| ${name} | ${count} | ${percent(count, total)} |`),
    '',
    '| instruction | forms | natively | by program | in the boot |',
    '|---|---|---|---|---|',
    ...lines(table).map(({ row, forms }) =>
      [
        '',
        ` ${escaped(row)} `,
        ` ${tokens(forms)} `,
        ` ${cell(forms, table.native)} `,
        ` ${cell(forms, programs)} `,
        ` ${cell(forms, boot)} `,
        '',
      ].join('|'),
    ),
    '',
  ].join('\n')}`;
}
