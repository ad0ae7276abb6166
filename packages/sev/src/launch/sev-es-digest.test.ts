/**
 * The digest of an SEV-ES launch, as the secure processor tells it, is what `measurePlan` predicts:
 * of a program in memory and of a Linux kernel by both entries, pages and registers of all CPUs.
 */
import { emulated } from '@cloister/backend-emu';
import {
  type BootSource,
  createVm,
  type LaunchPlan,
  type MemoryEncryption,
  type PluginContext,
  type VmPlugin,
} from '@cloister/core';
import { boot, flat, linux } from '@cloister/core/boot';
import { pc } from '@cloister/core/devices';
import { describe, expect, test } from 'vitest';
import { measurePlan } from '../measure/plan.js';
import { EmulatedPlatform } from './emulated-platform.js';
import { sevEs } from './sev-es.js';

/** One for all: its keys take long to make. */
const { chip } = new EmulatedPlatform({ seed: 'digest' });
const CLI_HLT = [0xfa, 0xf4];
const CPUS = 2;

/** The plugin, which also shows the plan that it launches. */
function observed(plugin: VmPlugin, see: (plan: LaunchPlan) => void): VmPlugin {
  const observe = (context: PluginContext, own: MemoryEncryption) => {
    const launch = own.launch.bind(own);
    own.launch = (vm, plan) => {
      see(plan);
      return launch(vm, plan);
    };
    context.setMemoryEncryption(own);
  };
  return {
    ...plugin,
    setup: (context) =>
      plugin.setup(
        Object.create(context, {
          setMemoryEncryption: { value: (own: MemoryEncryption) => observe(context, own) },
        }),
      ),
  };
}

/** Launches and runs it to its end. */
async function launched(source: BootSource) {
  let plan!: LaunchPlan;
  const platform = new EmulatedPlatform({ seed: 'digest', chip });
  const protection = observed(sevEs({ platform }), (seen) => {
    plan = seen;
  });
  const vm = await createVm({ memory: '8M', cpus: CPUS, seed: 1, clock: 'icount' })
    .use(emulated({ tuneHost: false }), pc(), boot(source), protection)
    .build();
  try {
    const { reason } = await vm.run();
    const report = platform.driver.attestation(1, new Uint8Array(16));
    return { plan, reason, digest: report.slice(16, 48) };
  } finally {
    await vm.dispose();
  }
}

/** A kernel that ends at once, by whichever entry it begins. */
function kernel(): Uint8Array {
  const start = 2 * 512;
  const file = new Uint8Array(start + 0x1000);
  const view = new DataView(file.buffer);
  view.setUint8(0x1f1, 1); // setup_sects
  view.setUint32(0x1f4, 0x100, true); // syssize, paragraphs
  view.setUint16(0x1fe, 0xaa55, true); // boot_flag
  view.setUint16(0x200, 0x6aeb, true); // jump
  view.setUint32(0x202, 0x53726448, true); // header
  view.setUint16(0x206, 0x20f, true); // version
  view.setUint8(0x211, 1); // loadflags: LOADED_HIGH
  view.setUint32(0x22c, 0x7fffffff, true); // initrd_addr_max
  view.setUint32(0x230, 0x100000, true); // kernel_alignment
  view.setUint8(0x234, 1); // relocatable_kernel
  view.setUint16(0x236, 1, true); // xloadflags: XLF_KERNEL_64
  view.setUint32(0x238, 2047, true); // cmdline_size
  view.setBigUint64(0x258, 0x100000n, true); // pref_address
  view.setUint32(0x260, 0x10000, true); // init_size
  file.set(CLI_HLT, start);
  file.set(CLI_HLT, start + 0x200);
  return file;
}

const initrd = Uint8Array.from({ length: 5000 }, (_, at) => at & 0xff);
const byEntry = (entry: 32 | 64, append = 'console=ttyS0') =>
  linux({ kernel: kernel(), initrd, append, entry });

describe('the digest is what measure predicts', () => {
  test.each<[string, BootSource]>([
    ['of a program', flat({ image: Uint8Array.from(CLI_HLT), mode: 'long' })],
    ['of Linux by its 64-bit entry', byEntry(64)],
    ['of Linux by its 32-bit entry', byEntry(32)],
  ])('%s, registers of all CPUs included', async (_name, source) => {
    const { plan, digest, reason } = await launched(source);
    expect(reason).toBe('stopped');
    expect(digest).toEqual(measurePlan(plan, { mode: 'seves' }));
    expect(digest).not.toEqual(measurePlan({ ...plan, vcpus: new Map() }, { mode: 'seves' }));
    expect([...plan.vcpus.keys()]).toEqual([0, 1]);
    expect(plan.regions.map(({ name }) => name)).toContain('ap-start');
  });

  test('differs by entry and by command line', async () => {
    const sources = [byEntry(64), byEntry(32), byEntry(64, 'console=ttyS1')];
    const digests = await Promise.all(sources.map(launched));
    const texts = digests.map(({ digest }) => Buffer.from(digest).toString('hex'));
    expect(new Set(texts).size).toBe(3);
  });
});
