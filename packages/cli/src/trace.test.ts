// `cloister trace`: each form of a log, its errors, and logs of any content.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { VmExit, WorldSwitch } from '@cloister/core';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { exitLine, switchLine } from './exit-record.js';
import { trace } from './trace.js';
import { TRACE_FORMATS, type TraceInvocation } from './trace-arguments.js';

let cwd: string;
beforeAll(() => {
  cwd = mkdtempSync(join(tmpdir(), 'cloister-trace-'));
});
afterAll(() => rmSync(cwd, { recursive: true }));

async function traced(log: string, flags: TraceInvocation['flags']): Promise<string> {
  writeFileSync(join(cwd, 'log'), log);
  let out = '';
  const print = async (text: string) => {
    out += text;
  };
  const status = await trace({ command: 'trace', file: 'log', flags }, { cwd, print });
  expect(status).toBe(0);
  return out;
}

const out = (instructions: number, port: number, vcpu = 0): string => {
  const data = Uint8Array.of(0x61);
  const direction = 'out' as const;
  const exit: VmExit = { kind: 'io', vcpu, instructions, direction, port, size: 1, count: 1, data };
  return exitLine(exit);
};

const step = (instructions: number, event: Omit<WorldSwitch, 'vcpu' | 'instructions'>): string =>
  switchLine({ vcpu: 0, instructions, ...event });

/** An OUT under SEV-ES: #VC, VMGEXIT, the device, and back. */
const nae = (at: number) =>
  step(at, { kind: 'exception', code: 0x7b, name: 'IOIO', vector: 29 }) +
  step(at + 90, { kind: 'exit', code: 0x403, name: 'VMGEXIT' }) +
  step(at + 90, { kind: 'request', code: 0x7b, name: 'IOIO', detail: 'OUT port 0x80, 1 byte' }) +
  out(at + 90, 0x80) +
  step(at + 91, { kind: 'entry', code: 0, name: 'VMRUN' });

describe('a diagram', () => {
  test('of plain exits: those that repeat are a loop', async () => {
    const text = await traced(out(5, 0x80) + out(9, 0x80) + out(12, 0x3f8), { format: 'mermaid' });
    expect(text.split('\n')).toEqual([
      'sequenceDiagram',
      '  participant G as guest',
      '  participant C as CPU',
      '  participant V as VMM',
      '  loop 2 times',
      '    G->>C: OUT port 0x80, 1 byte',
      '    C->>V: exit: registers are in the VMCB',
      '    Note over V: device: OUT port 0x80, 1 byte',
      '    V->>C: enter, with results in registers',
      '    C-->>G: goes on',
      '  end',
      '  G->>C: OUT port 0x3f8, 1 byte',
      '  C->>V: exit: registers are in the VMCB',
      '  Note over V: device: OUT port 0x3f8, 1 byte',
      '  V->>C: enter, with results in registers',
      '  C-->>G: goes on',
      '',
    ]);
  });

  test('of a non-automatic exit: the device is inside of the exchange', async () => {
    const text = await traced(nae(10), { format: 'mermaid' });
    expect(text.split('\n').slice(4, -1)).toEqual([
      '  G->>C: IOIO',
      '  C->>G: exception 29, code 0x7b',
      '  G->>C: VMGEXIT',
      '  C->>V: exit 0x403: no registers',
      '  Note over V: reads what the guest asks: IOIO: OUT port 0x80, 1 byte',
      '  Note over V: device: OUT port 0x80, 1 byte',
      '  V->>C: enter',
      '  C-->>G: goes on',
    ]);
  });

  test('of an automatic exit, and one by which a vector is injected', async () => {
    const log =
      step(1, { kind: 'exit', code: 0x78, name: 'HLT' }) +
      exitLine({ kind: 'hlt', vcpu: 0, instructions: 1, interruptible: true }) +
      step(2, { kind: 'entry', code: 0, name: 'VMRUN', vector: 32 });
    expect((await traced(log, { format: 'mermaid' })).split('\n').slice(4, -1)).toEqual([
      '  G->>C: HLT',
      '  C->>V: exit 0x78: no registers',
      '  Note over V: waits for an interrupt',
      '  V->>C: enter, injecting vector 32',
      '  C-->>G: goes on',
    ]);
  });

  test('ends where it was asked to, and says so; is of one vCPU', async () => {
    const log = out(1, 1) + out(2, 2) + out(3, 3, 1) + out(4, 4);
    const short = await traced(log, { format: 'mermaid', steps: '2' });
    expect(short).toContain('OUT port 0x2,');
    expect(short).not.toContain('OUT port 0x4');
    expect(short).toContain('Note over G,V: … and so on');
    expect(await traced(log, { format: 'mermaid' })).not.toContain('0x3,');
    expect(await traced(log, { format: 'mermaid', vcpu: '1' })).toContain('0x3,');
  });
});

interface Event {
  readonly ph: string;
  readonly name: string;
  readonly tid: number;
  readonly ts?: number;
  readonly dur?: number;
}

test('Perfetto: three threads; the guest runs, then its handler, then the guest', async () => {
  const text = await traced(nae(1000) + nae(3000), { format: 'perfetto' });
  const { traceEvents } = JSON.parse(text) as { traceEvents: Event[] };
  const slices = traceEvents.filter(({ ph }) => ph === 'X');
  expect(slices.map(({ name, ts, dur }) => [name.slice(0, 12), ts, dur])).toEqual([
    ['guest', 0, 1],
    ['handler: exc', 1, 0.09],
    ['guest', 1.091, 1.909],
    ['handler: exc', 3, 0.09],
  ]);
  const names = traceEvents.filter(({ name }) => name === 'thread_name').map(({ tid }) => tid);
  expect(names).toEqual([1, 2, 3]);
  expect(traceEvents.filter(({ ph }) => ph === 'i').every(({ tid }) => [1, 2, 3].includes(tid)));
});

test('JSON lines: those of a range, and of one vCPU, as they were', async () => {
  const log = out(1, 1) + out(2, 2, 1) + out(3, 3);
  expect(await traced(log, { format: 'jsonl' })).toBe(log);
  expect(await traced(log, { format: 'jsonl', from: '2', to: '2' })).toBe(out(2, 2, 1));
  expect(await traced(log, { format: 'jsonl', vcpu: '0' })).toBe(out(1, 1) + out(3, 3));
  await traced(log, { format: 'jsonl', out: 'made' });
  expect(readFileSync(join(cwd, 'made'), 'utf8')).toBe(log);
});

test.each<[string, string, TraceInvocation['flags'], RegExp]>([
  ['a line that is not JSON', `${out(1, 1)}nonsense\n`, {}, /line 2 of the exit log: not JSON/],
  ['no record', '7\n', {}, /line 1 of the exit log: not a record/],
  ['no kind', '{"instructions":1,"vcpu":0}\n', {}, /it has no kind/],
  ['no vCPU', '{"instructions":1,"vcpu":-1,"kind":"io"}\n', {}, /it names no vCPU/],
  ['an option that is no number', '', { from: 'x' }, /--from: "x" is no number/],
])('refuses %s', async (_, log, flags, message) => {
  await expect(traced(log, flags)).rejects.toThrow(message);
});

test('a trace is not written over its log', async () => {
  const log = out(5, 0x80);
  await expect(traced(log, { format: 'jsonl', out: './log' })).rejects.toMatchObject({
    code: 'invalid-argument',
    message: expect.stringContaining('is the exit log itself'),
  });
  expect(readFileSync(join(cwd, 'log'), 'utf8')).toBe(log);
});

test('a log that is not there is named', async () => {
  const print = async () => {};
  const missing = trace({ command: 'trace', file: 'gone', flags: {} }, { cwd, print });
  await expect(missing).rejects.toThrow(/exit log ".*gone": no such file/);
});

const field = fc.oneof(fc.string(), fc.integer(), fc.boolean(), fc.constant(null));
const record = fc
  .tuple(
    fc.record({
      instructions: fc.nat(),
      vcpu: fc.nat(3),
      kind: fc.constantFrom('io', 'mmio', 'msr', 'switch', 'hlt', 'strange'),
    }),
    fc.dictionary(
      fc.constantFrom('step', 'name', 'code', 'vector', 'detail', 'port', 'size', 'direction'),
      fc.oneof(field, fc.constantFrom('exit', 'entry', 'exception', 'request')),
    ),
  )
  .map(([head, more]) => `${JSON.stringify({ ...more, ...head })}\n`);

test('any records make a trace of every form', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(record, { maxLength: 20 }),
      fc.constantFrom(...TRACE_FORMATS),
      async (lines, format) => {
        const text = await traced(lines.join(''), { format });
        if (format === 'jsonl') expect(text).toBe(lines.join(''));
        else if (format === 'perfetto') expect(JSON.parse(text)).toHaveProperty('traceEvents');
        else {
          const loops = text.match(/^ {2}loop /gm)?.length ?? 0;
          expect(text.match(/^ {2}end$/gm)?.length ?? 0).toBe(loops);
        }
      },
    ),
    { numRuns: 60 },
  );
});
