/**
 * Helpers of this folder's tests: VMs over the fake backend, connected through a thread that is
 * none.
 */
import type { VmmError } from '../interfaces/index.js';
import { makeVm, type TestVm } from '../machine/test-vm.js';
import type { Vm } from '../machine/vm.js';
import type { FakeOp } from '../testing/fake-program.js';
import { connectVm } from './remote-vm.js';
import { type BuildVm, serveOn } from './serve-vm.js';
import { type TestThread, testThread } from './test-thread.js';
import type { WorkerVm, WorkerVmOptions } from './worker-vm.js';

export const CONSOLE_PORT = 0xe9;
/** Runs for ever. */
export const SPIN: FakeOp = { op: 'jump', to: 0 };

/** A VM that lets the event loop have a turn after every few short slices. */
export async function patient(setup: TestVm): Promise<Vm> {
  const { vm, host } = await makeVm({ ...setup, options: { slice: 2000 } });
  host.drift = 2;
  return vm;
}

/** A VM with a console port and this program. */
export function build(main: readonly FakeOp[], more: Partial<TestVm> = {}): Promise<Vm> {
  return patient({
    main,
    with: (context) =>
      context.addExitHandler({
        name: 'console',
        filter: { kind: 'io', ports: { base: CONSOLE_PORT, length: 1 } },
        handle(exit) {
          context.consoleOutput('debug', exit.data[0]!);
          return 'handled';
        },
      }),
    ...more,
  });
}

export async function connect<Options>(
  make: BuildVm<Options>,
  options: Options,
  host: WorkerVmOptions = {},
): Promise<{ vm: WorkerVm; thread: TestThread }> {
  const thread = testThread();
  serveOn(thread.worker, make);
  return { vm: await connectVm(thread, options, host), thread };
}

/** The code of the error with which it is refused. */
export const codeOf = (promise: Promise<unknown>) =>
  promise.then(
    () => 'nothing was thrown',
    (error: VmmError) => error.code,
  );
