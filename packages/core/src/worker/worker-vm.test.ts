// Host and Worker by their messages, on a thread that is none: the run and its control.
import { describe, expect, test } from 'vitest';
import { serial } from '../devices/serial.js';
import type { ConsoleEvent } from '../interfaces/index.js';
import { OFF, WORK } from '../machine/test-vm.js';
import { type FakeOp, print } from '../testing/fake-program.js';
import { CONSOLE_HIGH } from './protocol.js';
import { build, CONSOLE_PORT, codeOf, connect, patient, SPIN } from './test-worker.js';
import type { WorkerVm, WorkerVmOptions } from './worker-vm.js';

/** Collects console bytes as text; `pass` decides when each piece is taken. */
function collector(pass: () => void | Promise<void> = () => {}) {
  let text = '';
  const console = (event: ConsoleEvent): void | Promise<void> => {
    text += String.fromCharCode(...event.bytes);
    return pass();
  };
  return { console, text: () => text };
}

/** A gate that stays shut until it is opened. */
function gate() {
  let open = () => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}

/** Asks until two answers in a row tell of the same instruction. */
async function standstill(vm: WorkerVm): Promise<number> {
  let before = -1;
  for (;;) {
    const { instructions } = await vm.summary();
    if (instructions === before) return instructions;
    before = instructions;
  }
}

describe('a run', () => {
  const program = [...print(CONSOLE_PORT, 'hello'), WORK, ...print(CONSOLE_PORT, ' you'), OFF];

  test('gives the same bytes, end and summary as inline', async () => {
    const inline = await build(program);
    let expected = '';
    inline.events.console.subscribe(({ bytes }) => {
      expected += String.fromCharCode(...bytes);
    });
    const expectedEnd = await inline.run();
    const { console, text } = collector();
    const { vm } = await connect(() => build(program), {}, { console });
    expect(await vm.ended).toEqual(expectedEnd);
    expect(text()).toBe(expected);
    const { busyMs: _busy, ...summary } = await vm.summary();
    const { busyMs: _other, ...summaryInline } = inline.summary();
    expect(summary).toEqual(summaryInline);
    await vm.dispose();
  });

  test('ends after the sink has taken everything; without a sink bytes are counted', async () => {
    const { opened, open } = gate();
    const { console, text } = collector(() => opened);
    const { vm } = await connect(() => build(program), {}, { console });
    let ended = false;
    vm.ended.then(() => {
      ended = true;
    });
    await standstill(vm);
    expect(ended).toBe(false);
    open();
    await vm.ended;
    expect(text()).toBe('hello you');
    await vm.dispose();
    const { vm: silent } = await connect(() => build(program), {});
    await silent.ended;
    expect((await silent.summary()).console).toEqual({ written: 9, unobserved: 9 });
    await silent.dispose();
  });

  test('stops from outside while the guest spins', async () => {
    const { vm } = await connect(() => build([SPIN]), {});
    const end = await vm.stop('timeout', 'enough');
    expect(end).toMatchObject({ reason: 'timeout', message: 'enough' });
    expect(await vm.ended).toEqual(end);
    await vm.dispose();
  });

  test('starts again on reset', async () => {
    const { console, text } = collector();
    const { vm } = await connect(
      () => build([...print(CONSOLE_PORT, 'x'), { op: 'jump', to: 1 }]),
      {},
      { console },
    );
    await standstillOfText(text, 'x', vm);
    await vm.reset();
    await standstillOfText(text, 'xx', vm);
    await vm.dispose();
  });
});

async function standstillOfText(text: () => string, expected: string, vm: WorkerVm) {
  while (text() !== expected) await vm.summary();
}

describe('a slow console', () => {
  const bytes = 5 * CONSOLE_HIGH;
  const flood: FakeOp[] = [
    { op: 'out', port: CONSOLE_PORT, value: 0x41 },
    { op: 'jump', to: 0, times: bytes - 1 },
    OFF,
  ];

  test('makes the guest stand still, loses nothing and changes nothing', async () => {
    const { opened, open } = gate();
    const { console, text } = collector(() => opened);
    const { vm, thread } = await connect(() => build(flood), {}, { console });
    const there = await standstill(vm);
    expect(there).toBeGreaterThan(0);
    expect(thread.consoleBytes).toBeLessThanOrEqual(CONSOLE_HIGH + 4096);
    open();
    const end = await vm.ended;
    expect(text()).toBe('A'.repeat(bytes));
    expect(end).toEqual(await (await build(flood)).run());
    await vm.dispose();
  });

  test('and a host that pauses do not let the guest go on in each other’s place', async () => {
    const { opened, open } = gate();
    const { console, text } = collector(() => opened);
    const { vm } = await connect(() => build(flood), {}, { console });
    const there = await standstill(vm);
    await vm.pause();
    await vm.resume();
    expect(await standstill(vm)).toBe(there);
    await vm.pause();
    open();
    while (text().length < there / 4) await vm.summary();
    expect(await standstill(vm)).toBe(there);
    await vm.resume();
    await vm.ended;
    expect(text().length).toBe(bytes);
    await vm.dispose();
  });

  test('that never takes anything holds up neither stop nor dispose', async () => {
    const { console } = collector(() => new Promise<void>(() => {}));
    const { vm, thread } = await connect(() => build(flood), {}, { console });
    await standstill(vm);
    const end = await vm.stop();
    await vm.dispose();
    expect(await vm.ended).toEqual(end);
    expect(thread.terminated).toBe(true);
  });

  test('that throws stops the VM', async () => {
    const { vm } = await connect(
      () => build(flood),
      {},
      {
        console: () => {
          throw new Error('EPIPE');
        },
      },
    );
    await expect(vm.ended).rejects.toMatchObject({ code: 'io-failed', message: /EPIPE/ });
    expect(await vm.stop()).toMatchObject({ reason: 'stopped', message: /EPIPE/ });
    await vm.dispose();
  });
});

describe('pause, save and restore', () => {
  test('pauses at an instruction, and before any', async () => {
    const { vm } = await connect(() => build([SPIN]), {}, { pauseAt: 0 });
    expect(await standstill(vm)).toBe(0);
    const there = vm.pause({ at: 1_000_000 });
    await vm.resume();
    await there;
    expect(await standstill(vm)).toBe(1_000_000);
    await vm.pause();
    await vm.resume();
    while ((await vm.summary()).instructions === 1_000_000);
    await vm.dispose();
  });

  test('a saved VM goes on elsewhere, and where it was', async () => {
    const main = [...print(CONSOLE_PORT, 'ab'), WORK, ...print(CONSOLE_PORT, 'cd'), OFF];
    const one = collector();
    const host = { console: one.console, pauseAt: 500_000 };
    const { vm } = await connect(() => build(main), {}, host);
    await vm.pause({ at: 500_000 });
    const [saved, again] = await Promise.all([vm.save(), vm.save()]);
    expect(again).toEqual(saved);
    expect((await vm.summary()).instructions).toBe(500_000);
    await vm.resume();
    const end = await vm.ended;
    await vm.dispose();
    const two = collector();
    const { vm: other } = await connect(
      () => build(main),
      {},
      { console: two.console, restore: saved },
    );
    expect(await other.ended).toEqual(end);
    expect([one.text(), two.text()]).toEqual(['abcd', 'cd']);
    await other.dispose();
  });

  test('a running VM goes on after it was saved', async () => {
    const { vm } = await connect(() => build([SPIN]), {});
    await Promise.all([vm.save(), vm.save()]);
    const { instructions } = await vm.summary();
    while ((await vm.summary()).instructions === instructions);
    await vm.dispose();
  });

  test('a wrong state is refused as inline', async () => {
    const restore = { type: 'other', version: 1, state: null };
    const { code } = await connect(() => build([]), {}, { restore }).catch((error) => error);
    expect(code).toBe('snapshot-mismatch');
  });
});

describe('input', () => {
  const LINE_STATUS: FakeOp = { op: 'in', port: 0x3fd };
  /** Reads the data register for ever and shows what it was. */
  const echo: FakeOp[] = [
    { op: 'in', port: 0x3f8 },
    { op: 'out', port: CONSOLE_PORT },
    LINE_STATUS,
    { op: 'jump', to: 0 },
  ];

  async function echoing(host: WorkerVmOptions = {}) {
    const { console, text } = collector();
    const make = () =>
      patient({
        main: echo,
        with: (context) => {
          serial().setup(context);
          context.addExitHandler({
            name: 'console',
            filter: { kind: 'io', ports: { base: CONSOLE_PORT, length: 1 } },
            handle(exit) {
              if (exit.data[0] !== 0) context.consoleOutput('debug', exit.data[0]!);
              return 'handled';
            },
          });
        },
      });
    return { ...(await connect(make, {}, { console, ...host })), text };
  }

  test('arrives in order, more of it than a queue holds', async () => {
    const { vm, text } = await echoing({ liveInput: true });
    expect((await vm.summary()).clock.mode).toBe('wall');
    const long = 'x'.repeat(10_000);
    const all = [long, 'y', long].map((part) => vm.input(new TextEncoder().encode(part)));
    await Promise.all(all);
    const expected = `${long}y${long}`;
    while (text().length < expected.length) await vm.summary();
    expect(text()).toBe(expected);
    await vm.closeInput();
    await vm.dispose();
  });

  test('is bounded, and refused by a VM that has ended or has no line', async () => {
    const { vm } = await echoing();
    expect((await vm.summary()).clock.mode).toBe('icount');
    await vm.pause();
    const waiting = vm.input(new Uint8Array(2 ** 20));
    expect(await codeOf(vm.input(new Uint8Array(1)))).toBe('invalid-state');
    await vm.stop();
    expect(await codeOf(waiting)).toBe('invalid-state');
    expect(await codeOf(vm.input(new Uint8Array(1)))).toBe('invalid-state');
    await vm.dispose();
    const { vm: deaf } = await connect(() => build([SPIN]), {});
    expect(await codeOf(deaf.input(new Uint8Array(1)))).toBe('missing-capability');
    await deaf.dispose();
  });
});

test('the process is kept alive by a run and by nothing else', async () => {
  const { vm, thread } = await connect(() => build([SPIN]), {});
  expect(thread.alive).toBe(true);
  await vm.pause();
  expect(thread.alive).toBe(false);
  const summary = vm.summary();
  await Promise.resolve();
  expect(thread.alive).toBe(true);
  await summary;
  expect(thread.alive).toBe(false);
  await Promise.all([vm.pause(), vm.resume()]);
  expect(thread.alive).toBe(true);
  await vm.stop();
  await vm.ended;
  expect(thread.alive).toBe(false);
  await vm.dispose();
});
