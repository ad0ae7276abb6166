/**
 * Helpers of this folder's tests: a VM over the fake backend with a port that ends the run.
 */
import { createVm } from '../assembly/create-vm.js';
import { definePlugin } from '../assembly/define-plugin.js';
import type { PluginContext, VmPlugin } from '../interfaces/index.js';
import type { FakeBackend } from '../testing/fake-backend.js';
import { fakeBackend, fakeMachine } from '../testing/fake-backend.js';
import { FakeHost } from '../testing/fake-host.js';
import type { FakeOp, FakeProgram } from '../testing/fake-program.js';
import type { Vm, VmOptions } from './vm.js';

/** Much work, and the end of a run with status 7. */
export const WORK: FakeOp = { op: 'work', count: 1_000_000 };
export const OFF: FakeOp = { op: 'out', port: 0xf4, value: 7 };

/** Port 0xf4 ends the run with the value written. */
export function exitPort(): VmPlugin {
  return definePlugin({
    name: 'exit-port',
    version: '1.0.0',
    api: 1,
    setup(context) {
      context.addExitHandler({
        name: 'exit-port',
        filter: { kind: 'io', ports: { base: 0xf4, length: 1 } },
        handle(exit) {
          context.control.powerOff('debug-exit', exit.data[0]!);
          return 'handled';
        },
      });
    },
  });
}

export function plugin(setup: (context: PluginContext) => void, name = 'test'): VmPlugin {
  return definePlugin({ name, version: '1.0.0', api: 1, setup });
}

export interface TestVm {
  readonly main?: readonly FakeOp[];
  readonly isr?: readonly FakeOp[];
  /** In place of `main` and `isr`, where there are several CPUs. */
  readonly programs?: readonly FakeProgram[];
  readonly options?: VmOptions;
  /** Whether there is something to boot; true unless given. */
  readonly boot?: boolean;
  readonly with?: (context: PluginContext) => void;
}

export async function makeVm(
  setup: TestVm,
): Promise<{ vm: Vm; backend: FakeBackend; host: FakeHost }> {
  const programs = setup.programs ?? [
    { main: setup.main ?? [], ...(setup.isr ? { isr: setup.isr } : {}) },
  ];
  const backend = fakeBackend({ programs });
  const host = new FakeHost();
  const vm = await createVm({
    seed: 1,
    memory: '1M',
    cpus: programs.length,
    host,
    ...setup.options,
  })
    .use(
      fakeMachine(backend, setup.boot === false ? 0 : programs.length),
      exitPort(),
      setup.with && plugin(setup.with),
    )
    .build();
  return { vm, backend, host };
}
