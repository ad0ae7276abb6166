// The Worker of kvm.bench.mjs: the same guest as kvm-exits.c on the KVM backend, its exits answered
// by a device on core's bus, as in any VM. Tells seconds of the clock and of the processor.
import { parentPort } from 'node:worker_threads';
import { kvm } from '@cloister/backend-kvm';
import { createVm, definePlugin } from '@cloister/core';
import { boot, flat } from '@cloister/core/boot';

const CODE = {
  pio: [0xee, 0x66, 0x49, 0x75, 0xfb, 0xe6, 0x99],
  mmio: [0xa2, 0x00, 0x00, 0x66, 0x49, 0x75, 0xf9, 0xe6, 0x99],
};
const HIGH = 0x100000;

/** The device: adds up what it is given, and ends the run. */
function counter() {
  let sum = 0;
  return definePlugin({
    name: 'counter',
    version: '1.0.0',
    api: 1,
    setup(context) {
      context.addDevice({
        name: 'counter',
        regions: [
          { space: 'io', base: 0x80, length: 1, name: 'pio' },
          { space: 'mmio', base: HIGH, length: 0x1000, name: 'mmio' },
          { space: 'io', base: 0x99, length: 1, name: 'end' },
        ],
        read: () => 0,
        write(region, _offset, _size, value) {
          if (region === 2) context.control.powerOff('done');
          else sum += value;
        },
        drain: async () => {},
        reset: () => {},
        snapshot: () => ({ type: 'counter', version: 1, state: sum }),
        restore: () => {},
      });
    },
  });
}

const seconds = ({ user, system }) => (user + system) / 1e6;

parentPort.on('message', async ({ kind, count }) => {
  const image = Uint8Array.from(CODE[kind]);
  const registers = { rcx: BigInt(count), rdx: 0x80n, rax: 0x55n };
  const vm = await createVm({ memory: '1M' })
    .use(kvm(), counter(), boot(flat({ image, registers })))
    .build();
  await vm.start();
  await vm.pause();
  const [cpu] = vm.vcpus;
  const state = cpu.readState();
  state.ds.base = BigInt(HIGH);
  cpu.writeState(state);
  const used = process.cpuUsage();
  const since = performance.now();
  await vm.run();
  const wall = (performance.now() - since) / 1000;
  const cpuTime = seconds(process.cpuUsage(used));
  await vm.dispose();
  parentPort.postMessage({ wall, used: cpuTime });
});
