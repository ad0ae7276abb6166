/** The PC platform and serial plugins in a VM whose processor runs scripts. */
import { describe, expect, it } from 'vitest';
import { createVm } from '../assembly/create-vm.js';
import type { Snapshot, VmEnd, VmPlugin } from '../interfaces/index.js';
import { INTERRUPT_ROUTER, POWER_BUTTON } from '../interfaces/index.js';
import type { Vm } from '../machine/vm.js';
import { fakeBackend, fakeMachine } from '../testing/fake-backend.js';
import { type FakeOp, print } from '../testing/fake-program.js';
import { FakeSink } from '../testing/fakes.js';
import { BOOT_TIMER, bootTimer } from './boot-timer.js';
import { debugExit } from './debug-exit.js';
import { pc } from './pc.js';
import { SERIAL_INPUT, type SerialInputPort, serial } from './serial.js';

function out(port: number, ...values: number[]): FakeOp[] {
  return values.map((value) => ({ op: 'out', port, value }));
}

/** Vectors 0x20 to 0x2f, all IRQs open. */
const initPic: FakeOp[] = [
  ...out(0x20, 0x11),
  ...out(0x21, 0x20, 0x04, 0x01, 0x00),
  ...out(0xa0, 0x11),
  ...out(0xa1, 0x28, 0x02, 0x01, 0x00),
];
const eoi: FakeOp[] = [...out(0xa0, 0x20), ...out(0x20, 0x20)];
const halt: FakeOp = { op: 'hlt' };
const powerOff: FakeOp[] = [{ op: 'out', port: 0x604, size: 2, value: (5 << 10) | (1 << 13) }];

async function build(main: FakeOp[], isr: FakeOp[], ...plugins: VmPlugin[]) {
  const backend = fakeBackend({ programs: [{ main, isr }] });
  const vm = await createVm({ seed: 1, memory: '1M', clock: 'icount' })
    .use(fakeMachine(backend), pc(), ...plugins)
    .build();
  const cpu = () => backend.vms[0]!.vcpus[0]!;
  return { vm, backend, cpu, vectors: () => cpu().state.taken.map(([, vector]) => vector) };
}

async function finish(vm: Vm): Promise<VmEnd> {
  const end = await vm.run();
  await vm.dispose();
  return end;
}

/** Writes to an IOAPIC register. */
function ioapicWrite(index: number, value: number): FakeOp[] {
  return [
    { op: 'store', gpa: 0xfec00000, value: index },
    { op: 'store', gpa: 0xfec00010, value },
  ];
}

describe('pc interrupts', () => {
  it('brings the timer to the CPU through the PIC, at the exact time', async () => {
    // The control word itself raises the output, before the PIC looks for edges.
    const program = [...out(0x43, 0x34), ...initPic, ...out(0x40, 0x10, 0x27), halt, halt];
    const { vm, cpu } = await build([...program, ...powerOff], eoi);
    const end = await finish(vm);
    expect(end.reason).toBe('power-off');
    expect(cpu().state.taken.map(([, vector]) => vector)).toEqual([0x20, 0x20]);
  });

  it('brings the timer to pin 2 of the IOAPIC, ISA IRQs to the pins of their numbers', async () => {
    const { vm, vectors } = await build(
      [
        ...ioapicWrite(0x10 + 2 * 2, 0x40),
        ...ioapicWrite(0x10 + 2 * 4, 0x44),
        // Mode 0, 16 ticks.
        ...out(0x43, 0x30),
        ...out(0x40, 16, 0),
        halt,
        ...out(0x3fc, 0x08),
        ...out(0x3f9, 0x02),
        halt,
        ...powerOff,
      ],
      [],
      serial(),
    );
    await finish(vm);
    expect(vectors()).toEqual([0x40, 0x44]);
  });

  it('describes its controllers for the MADT', async () => {
    const { vm } = await build([], []);
    const { overrides, ioApics, pic } = vm.get(INTERRUPT_ROUTER);
    expect([pic, ioApics[0]?.address]).toEqual([true, 0xfec00000]);
    expect(overrides.map(({ irq, gsi, level }) => [irq, gsi, level])).toEqual([
      [0, 2, false],
      [9, 9, true],
    ]);
    await vm.dispose();
  });

  it('refuses a backend whose irqchip is elsewhere', async () => {
    const backend = fakeBackend({ programs: [{ main: [] }] });
    const vm = await createVm({ memory: '1M' })
      .use(fakeMachine(backend), pc({ irqchip: 'internal' }))
      .build();
    await expect(vm.run()).rejects.toMatchObject({ code: 'invalid-config', plugin: 'pc' });
    await vm.dispose();
  });
});

describe('pc power', () => {
  it.each([
    ['reset register', out(0xcf9, 0x06), 'reset', 0],
    ['keyboard controller', out(0x64, 0xfe), 'reset', 0],
    ['port 0x92', out(0x92, 0x01), 'reset', 0],
    ['debug exit', out(0xf4, 0x10), 'debug-exit', 33],
    ['soft off', powerOff, 'power-off', 0],
  ] as const)('%s ends the run', async (_name, program, reason, status) => {
    const { vm } = await build([...program, ...print(0x3f8, 'never')], [], debugExit(), serial());
    expect(await finish(vm)).toMatchObject({ reason, status });
  });

  it('tells the guest of the power button', async () => {
    const enable: FakeOp = { op: 'out', port: 0x602, size: 2, value: 0x100 };
    const wait: FakeOp[] = [...initPic, enable, { op: 'work', count: 10 }];
    const { vm, vectors } = await build(
      [...wait, ...powerOff],
      [{ op: 'out', port: 0x600, size: 2, value: 0x100 }, ...eoi],
    );
    vm.get(POWER_BUTTON).press();
    const end = await finish(vm);
    expect([end.reason, vectors()]).toEqual(['power-off', [0x29]]);
  });
});

describe('serial', () => {
  it('shows what the guest sends to the sink and to the events', async () => {
    const sink = new FakeSink();
    const { vm } = await build(
      [...print(0x3f8, 'hello'), ...powerOff],
      [],
      serial({ output: sink }),
    );
    const seen: string[] = [];
    vm.events.console.subscribe(({ source, bytes }) => {
      seen.push(`${source}:${String.fromCharCode(...bytes)}`);
    });
    await finish(vm);
    expect([sink.text, seen.join('')]).toEqual(['hello', 'serial0:hello']);
  });

  it('brings a long input to the guest in order, however slowly it reads', async () => {
    const text = Array.from({ length: 9000 }, (_, i) => i & 0xff);
    let rest = Uint8Array.from(text);
    const input = {
      live: false,
      connect(port: SerialInputPort) {
        const push = () => {
          rest = rest.subarray(port.push(rest));
        };
        port.onRoom(push);
        push();
      },
    };
    // Read one byte, send it back, 9000 times; the input never overruns the UART.
    const echo: FakeOp[] = [
      { op: 'work', count: 100 },
      { op: 'in', port: 0x3f8 },
      { op: 'out', port: 0x3f8 },
      { op: 'jump', to: 0, times: text.length - 1 },
    ];
    const sink = new FakeSink();
    const { vm } = await build([...echo, ...powerOff], [], serial({ input, output: sink }));
    await finish(vm);
    expect(sink.bytes).toEqual(text);
  });

  it('takes input from the host program', async () => {
    const { vm } = await build(
      [...initPic, ...out(0x3fc, 8), ...out(0x3f9, 1), halt, ...powerOff],
      [{ op: 'in', port: 0x3f8 }, { op: 'out', port: 0x3f8 }, ...eoi],
      serial(),
    );
    const seen: number[] = [];
    vm.events.console.subscribe(({ bytes }) => seen.push(...bytes));
    vm.get(SERIAL_INPUT).push(Uint8Array.of(65));
    await finish(vm);
    expect(seen).toEqual([65]);
  });

  it('has four places', async () => {
    const ports = ['com1', 'com2', 'com3', 'com4'] as const;
    const sinks = ports.map(() => new FakeSink());
    const program = [0x3f8, 0x2f8, 0x3e8, 0x2e8].flatMap((port, i) => out(port, 0x41 + i));
    const plugins = ports.map((port, i) => serial({ port, output: sinks[i]! }));
    const { vm } = await build([...program, ...powerOff], [], ...plugins);
    await finish(vm);
    expect(sinks.map((sink) => sink.text)).toEqual(['A', 'B', 'C', 'D']);
  });
});

it('the boot timer stamps with the instruction count', async () => {
  const { vm } = await build(
    [{ op: 'work', count: 1000 }, ...out(0x5f0, 7), ...powerOff],
    [],
    bootTimer(),
  );
  await vm.run();
  expect(vm.get(BOOT_TIMER).marks).toEqual([{ value: 7, at: 1000 }]);
  await vm.dispose();
});

describe('pc saved and restored', () => {
  /** Echoes ticks of a 1 kHz timer and sends on the line with interrupts. */
  const main: FakeOp[] = [
    ...initPic,
    ...out(0x3fc, 0x08),
    ...out(0x3f9, 0x02),
    ...out(0x43, 0x34),
    ...out(0x40, 0xa9, 0x04),
    halt,
    { op: 'in', port: 0x3fa },
    ...out(0x3f8, 0x2e),
    { op: 'work', count: 700 },
    { op: 'jump', to: initPic.length + 5, times: 40 },
    ...powerOff,
  ];

  /** Runs to the end, from the beginning or from a saved state. */
  async function run(from: Snapshot | null) {
    const sink = new FakeSink();
    const { vm, cpu } = await build(main, eoi, serial({ output: sink }));
    if (from !== null) await vm.restore(from);
    await finish(vm);
    return { text: sink.text, taken: cpu().state.taken };
  }

  /** Runs up to instruction `at` and saves. */
  async function saveAt(at: number) {
    const sink = new FakeSink();
    const { vm } = await build(main, eoi, serial({ output: sink }));
    const paused = new Promise<void>((resolve) => {
      vm.events.lifecycle.subscribe(({ status }) => {
        if (status === 'running') void vm.pause({ at });
        if (status === 'paused') resolve();
      });
    });
    await vm.start();
    await paused;
    expect(vm.instructions).toBe(at);
    const saved = await vm.save();
    await vm.dispose();
    return { saved, text: sink.text };
  }

  it('goes on with the same interrupts and bytes from any moment', async () => {
    const whole = await run(null);
    expect(whole.taken.length).toBeGreaterThan(40);
    for (const at of [30, 400, 5_000, 20_001, 27_500]) {
      const { saved, text } = await saveAt(at);
      const rest = await run(saved);
      expect(text + rest.text).toBe(whole.text);
      expect(rest.taken).toEqual(whole.taken);
    }
  });
});
