// One run of a fake machine: statuses, the terminal given back, signals, saving, the summary.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type FaultEvent, type VmEnd, type VmExit, VmmError } from '@cloister/core';
import { beforeEach, describe, expect, test } from 'vitest';
import type { Machine } from './machine.js';
import { type MachinePorts, run } from './run.js';
import { DEFAULTS, type RunOptions } from './run-options.js';
import { FakeHost } from './testing/fake-host.js';

const POWER_OFF: VmEnd = {
  reason: 'power-off',
  status: 0,
  message: 'acpi-s5',
  instructions: 100,
};

type Body = (machine: FakeMachine) => VmEnd | undefined | Promise<VmEnd | undefined>;

/** A machine that does what `body` says, and ends when stopped. */
class FakeMachine implements Machine {
  typed = '';
  recorded = 0;
  dropped = 0;
  dumped = 0;
  saved: string[] = [];
  fullDisks = 0;
  disposed = 0;
  paused = 0;
  listeners: ((exit: VmExit) => void)[] = [];
  faultListeners: ((fault: FaultEvent) => void)[] = [];
  readonly ports: MachinePorts;
  readonly #body: Body;
  #end: (end: VmEnd) => void = () => {};
  #stopped: VmEnd | undefined;

  constructor(ports: MachinePorts, body: Body) {
    this.ports = ports;
    this.#body = body;
    ports.input?.connect({
      push: (bytes) => {
        this.typed += Buffer.from(bytes).toString();
        return bytes.length;
      },
      onRoom: () => {},
      setLive: () => {},
    });
  }
  dumpMemory() {
    this.dumped++;
  }
  exits = (listener: (exit: VmExit) => void) => {
    this.listeners.push(listener);
    return () => {};
  };
  switches = () => () => {};
  faults = (listener: (fault: FaultEvent) => void) => {
    this.faultListeners.push(listener);
    return () => {};
  };
  async run() {
    if (this.#stopped !== undefined) return this.#stopped;
    const end = await this.#body(this);
    if (end !== undefined) return end;
    return this.#stopped ?? new Promise<VmEnd>((resolve) => (this.#end = resolve));
  }
  stop(reason: 'stopped' | 'timeout', message: string) {
    this.#stopped = { reason, status: 0, message, instructions: 100 };
    this.#end(this.#stopped);
  }
  pause() {
    this.paused++;
  }
  resume() {}
  async save(path: string) {
    if (this.fullDisks-- > 0) throw new VmmError('invalid-file', 'saved state: no space left');
    this.saved.push(path);
  }
  finishRecording() {
    this.recorded++;
  }
  dropRecording() {
    this.dropped++;
  }
  instructions() {
    return 100;
  }
  exitCounts(): [string, number][] {
    return [['hlt', 1]];
  }
  busySeconds() {
    return 0.5;
  }
  facts(): [string, string][] {
    return [['protection', 'none']];
  }
  async dispose() {
    this.disposed++;
  }
  print(text: string) {
    for (const byte of Buffer.from(text)) this.ports.output.put(byte);
  }
}

let host: FakeHost;
let machine: FakeMachine;
beforeEach(() => {
  host = new FakeHost();
});

const turn = () => new Promise((resolve) => setImmediate(resolve));

function start(body: Body, options: Partial<RunOptions> = {}, quiet = false): Promise<number> {
  return run({
    host,
    options: { ...DEFAULTS, kernel: 'k', ...options },
    quiet,
    debug: false,
    assemble: async (_options, ports) => (machine = new FakeMachine(ports, body)),
  });
}

/** Nothing of the run is left behind. */
function expectCleanEnd() {
  expect(machine.disposed).toBe(1);
  expect(host.signals.size).toBe(0);
  expect(host.timers.size).toBe(0);
  expect(host.atExit.size).toBe(0);
  expect(host.stdin.listenerCount('data')).toBe(0);
  expect(host.stdin.rawHistory.at(-1) ?? false).toBe(false);
}

test('the guest’s bytes go to standard output, the summary elsewhere', async () => {
  const status = await start((vm) => {
    vm.print('BOOT-OK\n');
    return POWER_OFF;
  });
  expect(status).toBe(0);
  expect(host.output).toBe('BOOT-OK\n');
  expect(host.lines.join('\n')).toContain('ended         the guest powered off (acpi-s5)');
  expect(host.lines.join('\n')).toContain('protection    none');
  expect([machine.recorded, machine.dropped]).toEqual([1, 0]);
  expectCleanEnd();
});

test('memory is dumped once, also when the run fails', async () => {
  expect(await start(() => POWER_OFF)).toBe(0);
  expect(machine.dumped).toBe(1);
  const failing = () => {
    throw new VmmError('protection-inactive', 'it is not');
  };
  expect(await start(failing)).toBe(5);
  expect(machine.dumped).toBe(1);
});

test('quiet leaves out the summary', async () => {
  expect(await start(() => POWER_OFF, {}, true)).toBe(0);
  expect(host.lines).toEqual([]);
});

test.each([
  ['debug-exit', 7, 7],
  ['triple-fault', 0, 3],
  ['error', 0, 6],
] as const)('%s decides the status', async (reason, value, status) => {
  const end = { reason, status: value, message: 'm', instructions: 1 };
  expect(await start(() => end)).toBe(status);
});

test('the timeout ends the run with its status', async () => {
  const status = start(() => undefined, { timeout: 2 });
  await turn();
  host.timers.get(2000)!();
  expect(await status).toBe(4);
  expect(host.lines.join('\n')).toContain('timeout after 2 s');
  expectCleanEnd();
});

describe('signals', () => {
  test.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ] as const)('%s ends the run', async (signal, status) => {
    const result = start(() => undefined);
    await turn();
    host.signals.get(signal)!();
    expect(await result).toBe(status);
    expectCleanEnd();
  });

  test('one that comes during assembly is not lost', async () => {
    const status = run({
      host,
      options: { ...DEFAULTS, kernel: 'k' },
      quiet: true,
      debug: false,
      assemble: async (_options, ports) => {
        host.signals.get('SIGINT')!();
        return (machine = new FakeMachine(ports, () => undefined));
      },
    });
    expect(await status).toBe(130);
    expectCleanEnd();
  });

  test('a second one leaves at once, the terminal given back', async () => {
    host.stdin.isTTY = true;
    const result = start(() => new Promise(() => {}));
    void result;
    await turn();
    host.signals.get('SIGTERM')!();
    host.signals.get('SIGINT')!();
    expect(host.exited).toBe(130);
    expect(host.stdin.rawHistory).toEqual([true, false]);
    for (const listener of host.atExit) listener();
    expect(machine.dropped).toBe(1);
  });
});

test('a recording that cannot be written ends the run', async () => {
  const status = await start((vm) => {
    vm.ports.recordingFailed(new VmmError('invalid-file', 'recording "r": no space left'));
    return undefined;
  });
  expect(status).toBe(2);
  expect(host.lines[0]).toBe('cloister: invalid-file: recording "r": no space left');
  expect(host.lines.join('\n')).toContain('ended         the recording could not be written');
  expectCleanEnd();
});

describe('the terminal', () => {
  beforeEach(() => {
    host.stdin.isTTY = true;
  });

  test('typed text reaches the guest; Ctrl-A x ends the run', async () => {
    const status = start(() => undefined);
    await turn();
    host.stdin.emit('data', Buffer.from('ls\r'));
    expect(machine.typed).toBe('ls\r');
    expect(machine.ports.input?.live).toBe(true);
    host.stdin.emit('data', Buffer.from('\x01x'));
    expect(await status).toBe(130);
    expectCleanEnd();
  });

  test('is left alone when the assembly fails', async () => {
    const status = await run({
      host,
      options: DEFAULTS,
      quiet: false,
      debug: false,
      assemble: () => Promise.reject(new VmmError('invalid-file', 'kernel: bad magic')),
    });
    expect(status).toBe(2);
    expect(host.lines.filter((line) => line !== '')).toEqual([
      'cloister: invalid-file: kernel: bad magic',
    ]);
    expect(host.stdin.rawHistory).toEqual([]);
  });

  test('is left alone in a replay, which is not live', async () => {
    await start(() => POWER_OFF, { replay: 'r' });
    expect(host.stdin.rawHistory).toEqual([]);
    expect(machine.ports.input).toBeUndefined();
  });
});

test('output that nobody reads any more ends the run', async () => {
  const status = start(() => undefined);
  await turn();
  host.stdoutError(new Error('EPIPE'));
  expect(await status).toBe(141);
});

test('a slow reader pauses the machine', async () => {
  await start((vm) => {
    vm.print('x'.repeat(100_000));
    return POWER_OFF;
  });
  expect(machine.paused).toBe(1);
  expect(host.output.length).toBe(100_000);
});

describe('saving', () => {
  test('when the host ends the run', async () => {
    const status = start(() => undefined, { save: 's' });
    await turn();
    host.signals.get('SIGTERM')!();
    expect(await status).toBe(143);
    expect(machine.saved).toEqual(['s']);
  });

  test('once more where the disk was full: until then the guest goes on', async () => {
    const status = start(() => undefined, { save: 's' });
    await turn();
    machine.fullDisks = 2;
    for (const end of ['SIGTERM', 'SIGINT', 'SIGTERM'] as const) {
      expect(machine.saved).toEqual([]);
      host.signals.get(end)!();
      await turn();
    }
    expect(await status).toBe(143);
    expect(machine.saved).toEqual(['s']);
    const said = host.lines.filter((line) => line.startsWith('cloister: '));
    expect(said.slice(0, 2)).toEqual([
      'cloister: invalid-file: saved state: no space left',
      'cloister: not saved: the guest goes on; end it again to try again',
    ]);
    expectCleanEnd();
  });

  test('at the end of the time: a full disk is told, and ends it', async () => {
    const status = await start(
      (vm) => {
        vm.fullDisks = 1;
        vm.ports.reachedSavePoint();
        return undefined;
      },
      { save: 's', saveAt: 100 },
    );
    expect(status).toBe(2);
    expect(host.lines).toContain('cloister: not saved: the guest ends with this run');
  });

  test('at the given instruction, with status 0', async () => {
    const options = { save: 's', saveAt: 100 };
    const status = await start((vm) => {
      vm.ports.reachedSavePoint();
      return undefined;
    }, options);
    expect(status).toBe(0);
    expect(machine.saved).toEqual(['s']);
  });

  test('on SIGUSR1, and the guest goes on', async () => {
    const status = await start(
      async () => {
        host.signals.get('SIGUSR1')!();
        await turn();
        return POWER_OFF;
      },
      { save: 's' },
    );
    expect(status).toBe(0);
    expect(machine.saved).toEqual(['s']);
    expect(host.lines).toContain('cloister: saved at instruction 100');
  });

  test('not when the guest ended before the instruction', async () => {
    await start(() => POWER_OFF, { save: 's', saveAt: 1000 });
    expect(machine.saved).toEqual([]);
    expect(host.lines).toContain('cloister: not saved: the guest has ended');
  });
});

const hlt: VmExit = { kind: 'hlt', vcpu: 0, instructions: 5, interruptible: true };

test('exits are counted by cause', async () => {
  await start(
    (vm) => {
      for (const listener of vm.listeners) listener(hlt);
      return POWER_OFF;
    },
    { exits: 'summary' },
  );
  expect(host.lines.at(-1)?.trim()).toBe('1  hlt');
});

test('exits are logged to a file', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'cloister-run-'));
  try {
    const exits = join(folder, 'e.jsonl');
    await start(
      (vm) => {
        for (const listener of vm.listeners) listener(hlt);
        return POWER_OFF;
      },
      { exits },
    );
    expect(readFileSync(exits, 'utf8')).toBe(
      '{"instructions":5,"vcpu":0,"kind":"hlt","interruptible":true}\n',
    );
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('an exit log that cannot be made is a bad file; the guest never starts', async () => {
  const status = await start(() => POWER_OFF, { exits: '/no/such/folder/e.jsonl' });
  expect(status).toBe(2);
  expect(host.lines.length).toBe(1);
  expectCleanEnd();
});

test('faults are shown up to a bound', async () => {
  await start((vm) => {
    for (let n = 0; n < 50; n++) {
      for (const listener of vm.faultListeners) {
        listener({ kind: 'guest-fault', message: `fault ${n}`, instructions: n });
      }
    }
    return POWER_OFF;
  });
  const shown = host.lines.filter((line) => line.includes('guest-fault at instruction'));
  expect(shown.length).toBe(20);
  expect(host.lines).toContain('cloister: 30 further faults are not shown');
});

test('places that nobody answered wait for the summary', async () => {
  await start((vm) => {
    const fault = { kind: 'unclaimed', message: 'no device at port 1', instructions: 1 } as const;
    for (const listener of vm.faultListeners) listener(fault);
    return POWER_OFF;
  });
  const at = host.lines.indexOf('  unclaimed     no device at port 1');
  expect(at).toBeGreaterThan(host.lines.indexOf('cloister: summary'));
});

test('an error at the end does not hide behind status 0', async () => {
  const status = await run({
    host,
    options: DEFAULTS,
    quiet: true,
    debug: false,
    assemble: async (_options, ports) => {
      machine = new FakeMachine(ports, () => POWER_OFF);
      machine.dispose = () => Promise.reject(new Error('left open'));
      return machine;
    },
  });
  expect(status).toBe(6);
  expect(host.lines).toEqual(['cloister: internal: Error: left open']);
});
