/**
 * The host of a corpus program: what answers its ports, addresses and MSR, as layout.s promises.
 *
 * What a read gives depends on nothing that differs between backends: an address gives a byte of
 * its own, so that a backend may split an access; ports give the bytes 1, 2, 3 … in the order in
 * which they are read.
 */
import { definePlugin } from '../../assembly/define-plugin.js';
import type {
  BootSource,
  CpuBackend,
  InstructionAssist,
  VmPlugin,
} from '../../interfaces/index.js';

const PORTS = { base: 0xe0, length: 8 };
const MMIO = { base: 0xd0000000, length: 0x10000 };
const MSR = { base: 0x00c0ffee, length: 1 };
const MSR_VALUE = { lo: 0x01234567, hi: 0x89abcdef };

/** Plugin: backend, its helper if any, boot source and the corpus' own devices. */
export function corpusHost(
  backend: CpuBackend,
  source: BootSource,
  assist?: InstructionAssist,
): VmPlugin {
  return definePlugin({
    name: 'corpus-host',
    version: '1.0.0',
    api: 1,
    provides: ['cpu'],
    setup(context) {
      context.setBackend(backend);
      context.setBootSource(source);
      if (assist !== undefined) context.setInstructionAssist(assist);
      let next = 1;
      context.addExitHandler({
        name: 'corpus ports',
        filter: { kind: 'io', ports: PORTS },
        handle({ direction, data }) {
          if (direction === 'in') for (let i = 0; i < data.length; i++) data[i] = next++;
          return 'handled';
        },
      });
      context.addExitHandler({
        name: 'corpus memory',
        filter: { kind: 'mmio', range: MMIO },
        handle({ direction, gpa, data }) {
          const at = gpa - MMIO.base;
          if (direction === 'read') {
            for (let i = 0; i < data.length; i++) data[i] = 7 * (at + i) + 3;
          }
          return 'handled';
        },
      });
      context.addExitHandler({
        name: 'corpus MSR',
        filter: { kind: 'msr', indices: MSR },
        handle(exit) {
          exit.fault = false;
          if (exit.direction === 'read') Object.assign(exit, MSR_VALUE);
          return 'handled';
        },
      });
    },
  });
}
