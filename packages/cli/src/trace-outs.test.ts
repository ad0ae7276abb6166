/**
 * ES-22: the same OUTs by #VC and by the call that examples/guest patches over them, counted from
 * the traces of both runs; the table of docs/trace.md.
 *
 * CLOISTER_WRITE=1 writes the table of today.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { emulated } from '@cloister/backend-emu';
import { createVm, type VmPlugin } from '@cloister/core';
import { boot, linux } from '@cloister/core/boot';
import { debugExit, pc, serial } from '@cloister/core/devices';
import { sevEs } from '@cloister/sev/launch';
import { expect, test } from 'vitest';

const fromRoot = (path: string) => fileURLToPath(new URL(`../../../${path}`, import.meta.url));
const PAGE = fromRoot('docs/trace.md');
const [BEGIN, END] = ['<!-- outs -->\n', '<!-- end of outs -->\n'];
const COUNT = 1000;
const COM1 = 0x3f8;
const SENT = Array.from({ length: COUNT }, (_, i) =>
  i % 64 === 63 ? '\n' : String.fromCharCode(0x61 + (i % 26)),
).join('');

interface Counted {
  /** What the port got in the loop. */
  readonly bytes: string;
  readonly exceptions: number;
  readonly exits: number;
  readonly instructions: number;
}

/** Counts between the first and the last of the bytes that the loop sends. */
async function count(append: string, protection: readonly VmPlugin[]): Promise<Counted> {
  const kernel = readFileSync(fromRoot('examples/guest/guest.bin'));
  const source = linux({ kernel, append: `checks=none outs=${COUNT} ${append}` });
  const vm = await createVm({ memory: '16M', seed: 1 })
    .use(emulated({ tuneHost: false }), pc(), serial(), debugExit(), protection, boot(source))
    .build();
  let all = '';
  let [exceptions, exits] = [0, 0];
  const bytes: Counted[] = [];
  vm.events.switches.subscribe(({ kind }) => {
    if (kind === 'exception') exceptions++;
    if (kind === 'exit') exits++;
  });
  vm.events.exits.subscribe((exit) => {
    if (exit.kind !== 'io' || exit.direction !== 'out' || exit.port !== COM1) return;
    all += String.fromCharCode(exit.data[0]!);
    bytes.push({ bytes: all, exceptions, exits, instructions: exit.instructions });
  });
  try {
    const { reason, message } = await vm.run();
    expect(reason, message).toBe('power-off');
  } finally {
    await vm.dispose();
  }
  const start = all.indexOf(SENT);
  expect(start).toBeGreaterThan(0);
  const [first, last] = [bytes[start]!, bytes[start + COUNT - 1]!];
  return {
    bytes: last.bytes.slice(start),
    exceptions: last.exceptions - first.exceptions,
    exits: last.exits - first.exits,
    instructions: last.instructions - first.instructions,
  };
}

const es = () => [sevEs({ platform: { seed: '1' } })];

test('ES-22: paravirtual OUT needs no #VC; the device gets the same bytes', async () => {
  const plain = await count('', []);
  const byVc = await count('', es());
  const paravirtual = await count('pv=1', es());
  for (const each of [plain, byVc, paravirtual]) expect(each.bytes).toBe(SENT);
  const between = COUNT - 1;
  expect(byVc).toMatchObject({ exceptions: between, exits: between });
  expect(paravirtual).toMatchObject({ exceptions: 0, exits: between });
  expect(paravirtual.instructions * 2).toBeLessThan(byVc.instructions);
  const row = (name: string, exits: number, { exceptions, instructions }: Counted) => {
    const each = [exceptions / between, exits / between, Math.round(instructions / between)];
    return `| ${name} | ${each.join(' | ')} |`;
  };
  const table = [
    '| per OUT | #VC | exits | guest instructions |',
    '|---|---|---|---|',
    row('no protection', between, plain),
    row('SEV-ES, #VC', byVc.exits, byVc),
    row('SEV-ES, paravirtual', paravirtual.exits, paravirtual),
    '',
  ].join('\n');
  process.stdout.write(table);
  const text = readFileSync(PAGE, 'utf8');
  const [from, to] = [text.indexOf(BEGIN) + BEGIN.length, text.indexOf(END)];
  expect(from).toBeGreaterThan(BEGIN.length);
  if (process.env.CLOISTER_WRITE === '1') {
    writeFileSync(PAGE, text.slice(0, from) + table + text.slice(to));
    return;
  }
  expect(text.slice(from, to)).toBe(table);
});
