/**
 * Why the launch of a run has another digest than the predicted one: tries what is easily forgotten
 * between two command lines, one difference at a time.
 */
import { isVmmError } from '@cloister/core';
import { type Cause, type Explanation, measurePlan } from '@cloister/sev/measure';
import { planRun } from './assemble.js';
import type { DiskChoice } from './disk-option.js';
import { formatSize } from './quantity.js';
import type { Protection, RunOptions } from './run-options.js';

export interface ProtectedRun {
  readonly options: RunOptions & { readonly protect: Protection };
  /** Fields that some source gave. */
  readonly given: ReadonlySet<keyof RunOptions>;
}

/** The mode of `cloister measure` that is this protection. */
export const MODE: Readonly<Record<Protection, 'sev' | 'seves'>> = {
  sev: 'sev',
  'sev-es': 'seves',
};

interface Variant extends Cause {
  readonly change: Partial<ProtectedRun['options']>;
}

const CPUS_TRIED = 16;
const DEVICES_TRIED = 8;
const MIB = 2 ** 20;
/** In MiB. */
const MEMORY_TRIED = [64, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 8192, 16384];

/** `digest` is that of the launch as given. */
export async function explainRun(
  { options, given }: ProtectedRun,
  digest: Uint8Array,
  observed: Uint8Array,
): Promise<Explanation> {
  if (same(digest, observed)) return { matches: true, causes: [], tried: 1 };
  let tried = 1;
  for (const { change, ...cause } of variantsOf(options)) {
    const found = await digestOf({ options: { ...options, ...change }, given });
    if (found === undefined) continue;
    tried++;
    if (same(found, observed)) return { matches: false, causes: [cause], tried };
  }
  return { matches: false, causes: [], tried };
}

const same = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;

/** Undefined for a launch that is not possible. */
async function digestOf({ options, given }: ProtectedRun): Promise<Uint8Array | undefined> {
  try {
    return measurePlan(await planRun(options, given), { mode: MODE[options.protect] });
  } catch (error) {
    if (isVmmError(error)) return undefined;
    throw error;
  }
}

function variantsOf(options: ProtectedRun['options']): Variant[] {
  const { protect, memory, cpus, virtio, entry, initrd, append } = options;
  const other = protect === 'sev' ? 'sev-es' : 'sev';
  const variants: Variant[] = [
    variant('protection', protect, other, {
      ...{ protect: other, policy: undefined, sevHost: undefined },
    }),
    ...upTo(CPUS_TRIED, 1).map((n) => variant('CPUs', String(cpus), String(n), { cpus: n })),
    ...MEMORY_TRIED.map((size) => {
      const change = { memory: size * MIB };
      return variant('memory', formatSize(memory), formatSize(change.memory), change);
    }),
    ...(['64', '32'] as const).map((each) =>
      variant('entry', entry ?? 'by file type', each, { entry: each }),
    ),
    ...(['mmio', 'pci'] as const).map((each) =>
      variant('virtio transport', virtio, each, { virtio: each }),
    ),
    ...upTo(DEVICES_TRIED, 0).map((n) =>
      variant('virtio devices', String(deviceCount(options)), String(n), devices(n)),
    ),
    ...[append.trim(), `${append}\n`, `${append} `].map((each) =>
      variant('command line', JSON.stringify(append), JSON.stringify(each), { append: each }),
    ),
  ];
  if (initrd !== undefined) variants.push(variant('initrd', initrd, 'none', { initrd: undefined }));
  return variants.filter(({ given, found }) => given !== found);
}

const upTo = (last: number, first: number): number[] =>
  Array.from({ length: last - first + 1 }, (_, index) => first + index);

const variant = (
  input: string,
  given: string,
  found: string,
  change: Variant['change'],
): Variant => ({ input, given, found, change });

function deviceCount(options: RunOptions): number {
  const { disks, nets, shares, vsock, rng, balloon, console } = options;
  const single = [vsock !== undefined, rng, balloon !== undefined, console === 'virtio'];
  return disks.length + nets.length + shares.length + single.filter(Boolean).length;
}

const BLANK: DiskChoice = {
  ...{ file: '', readOnly: false, overlay: undefined, serial: undefined, queues: undefined },
  ...{ bps: undefined, iops: undefined, latency: undefined },
};

/** So many devices: ACPI's tables do not say of which kind they are. */
const devices = (count: number): Variant['change'] => ({
  ...{ disks: Array.from({ length: count }, () => BLANK), nets: [], shares: [] },
  ...{ vsock: undefined, rng: false, balloon: undefined, console: 'serial' as const },
});
