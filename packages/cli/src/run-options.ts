/**
 * What a run is: options of the command line laid over those of a configuration file, laid over
 * the defaults. Both sources speak the same raw form (that of vm.schema.json), so that each value
 * is read in one place and an error names it as the user wrote it.
 */
import { VmmError } from '@cloister/core';
import { type DiskChoice, type RawDisk, readDisk, sharedFile } from './disk-option.js';
import { type NetChoice, type RawNet, readNet, sinceNone } from './net-option.js';
import { parseInteger, parseSeconds, parseSeed, parseSize } from './quantity.js';
import { doubleTag, type RawShare, readShare, type ShareChoice } from './share-option.js';
import { type RawVsock, readVsock, type VsockChoice } from './vsock-option.js';

export const ENTRIES = ['64', '32', 'pvh', 'multiboot', 'flat'] as const;
export type EntryKind = (typeof ENTRIES)[number];

export const FLAT_MODES = ['real', 'protected', 'long'] as const;
export type FlatMode = (typeof FLAT_MODES)[number];

export const CLOCKS = ['icount', 'wall'] as const;
export type ClockMode = (typeof CLOCKS)[number];

export const ON_RESET = ['stop', 'reboot'] as const;
export type OnReset = (typeof ON_RESET)[number];

export const BACKENDS = ['emu', 'kvm'] as const;
export type BackendName = (typeof BACKENDS)[number];

export const VIRTIO = ['mmio', 'pci'] as const;
export type VirtioTransport = (typeof VIRTIO)[number];

/** Translation of the emulated processor's code, see `@cloister/backend-emu`. */
export const JIT_MODES = ['off', 'on', 'stress'] as const;
export type JitMode = (typeof JIT_MODES)[number];
export const CONSOLES = ['serial', 'virtio'] as const;
export type ConsoleChoice = (typeof CONSOLES)[number];

export const PROTECTIONS = ['sev', 'sev-es'] as const;
export type Protection = (typeof PROTECTIONS)[number];

/** Whose hypervisor an SEV-ES guest has, see `@cloister/sev/launch`. */
export const SEV_HOSTS = ['kvm', 'openbsd'] as const;
export type SevHost = (typeof SEV_HOSTS)[number];

export interface PluginChoice {
  /** A path or package name. */
  readonly module: string;
  readonly options: Readonly<Record<string, unknown>>;
  /** Folder that a relative module is relative to. */
  readonly from: string;
}

/** One source's values before they are read; the JSON of the configuration has this shape. */
export interface RawOptions {
  readonly backend?: BackendName;
  readonly cpu?: string;
  readonly jit?: JitMode;
  readonly memory?: string | number;
  readonly cpus?: string | number;
  readonly kernel?: string;
  readonly initrd?: string;
  readonly append?: string;
  readonly entry?: EntryKind;
  readonly flat?: { readonly mode?: FlatMode; readonly loadAddress?: string | number };
  readonly virtio?: VirtioTransport;
  readonly disks?: readonly (string | RawDisk)[];
  readonly nets?: readonly (string | RawNet)[];
  readonly vsock?: string | RawVsock;
  readonly shares?: readonly (string | RawShare)[];
  readonly rng?: boolean;
  readonly assist?: boolean;
  readonly balloon?: boolean | string | number;
  readonly console?: ConsoleChoice;
  readonly protect?: Protection;
  readonly sevHost?: SevHost;
  readonly policy?: string | number;
  readonly platform?: string;
  readonly session?: string;
  readonly dhCert?: string;
  readonly sendTo?: string;
  readonly measureOut?: string;
  readonly requireHardware?: boolean;
  readonly dumpMemory?: string;
  readonly clock?: ClockMode;
  readonly seed?: string | number;
  readonly timeout?: string | number;
  readonly onReset?: OnReset;
  readonly exits?: string;
  readonly record?: string;
  readonly replay?: string;
  readonly save?: string;
  readonly saveAt?: string | number;
  readonly restore?: string;
  readonly plugins?: readonly (
    | string
    | { readonly module: string; readonly options?: Readonly<Record<string, unknown>> }
  )[];
}

/** Where raw options come from: how to name a field of theirs, and what paths are relative to. */
export interface OptionSource {
  readonly raw: RawOptions;
  readonly code: 'invalid-argument' | 'invalid-config';
  nameOf(field: string): string;
  resolvePath(path: string): string;
  /** Folder of relative plugin modules. */
  readonly folder: string;
}

export interface RunOptions {
  readonly backend: BackendName;
  /** `MODEL[,+feature,-feature]`; undefined: the default model. */
  readonly cpu: string | undefined;
  readonly jit: JitMode | undefined;
  readonly memory: number;
  readonly cpus: number;
  readonly kernel: string | undefined;
  readonly initrd: string | undefined;
  readonly append: string;
  readonly entry: EntryKind | undefined;
  readonly flatMode: FlatMode | undefined;
  readonly loadAddress: number | undefined;
  readonly virtio: VirtioTransport;
  readonly disks: readonly DiskChoice[];
  readonly nets: readonly NetChoice[];
  readonly vsock: VsockChoice | undefined;
  readonly shares: readonly ShareChoice[];
  readonly rng: boolean;
  readonly assist: boolean;
  /** Bytes that the balloon asks for; without it there is no balloon. */
  readonly balloon: number | undefined;
  readonly console: ConsoleChoice;
  readonly protect: Protection | undefined;
  /** `kvm` unless given. */
  readonly sevHost: SevHost | undefined;
  /** The policy of a protected guest; that of the protection unless given. */
  readonly policy: number | undefined;
  /** An emulated platform that is kept, and an owner's session with it. */
  readonly platform: string | undefined;
  readonly session: string | undefined;
  readonly dhCert: string | undefined;
  /** Folder of the certificates of the platform that is to go on with a saved guest. */
  readonly sendTo: string | undefined;
  readonly measureOut: string | undefined;
  readonly requireHardware: boolean;
  readonly dumpMemory: string | undefined;
  readonly clock: ClockMode | undefined;
  readonly seed: bigint | undefined;
  readonly timeout: number | undefined;
  readonly onReset: OnReset;
  readonly exits: string | undefined;
  readonly record: string | undefined;
  readonly replay: string | undefined;
  readonly save: string | undefined;
  readonly saveAt: number | undefined;
  readonly restore: string | undefined;
  readonly plugins: readonly PluginChoice[];
}

export const DEFAULTS: RunOptions = {
  backend: 'emu',
  cpu: undefined,
  jit: undefined,
  memory: 256 * 2 ** 20,
  cpus: 1,
  kernel: undefined,
  initrd: undefined,
  append: '',
  entry: undefined,
  flatMode: undefined,
  loadAddress: undefined,
  virtio: 'mmio',
  disks: [],
  nets: [],
  vsock: undefined,
  shares: [],
  rng: false,
  assist: false,
  balloon: undefined,
  console: 'serial',
  protect: undefined,
  sevHost: undefined,
  policy: undefined,
  platform: undefined,
  session: undefined,
  dhCert: undefined,
  sendTo: undefined,
  measureOut: undefined,
  requireHardware: false,
  dumpMemory: undefined,
  clock: undefined,
  seed: undefined,
  timeout: undefined,
  onReset: 'stop',
  exits: undefined,
  record: undefined,
  replay: undefined,
  save: undefined,
  saveAt: undefined,
  restore: undefined,
  plugins: [],
};

/** The given fields of one source, read. */
type Layer = { [Key in keyof RunOptions]?: RunOptions[Key] };

/**
 * Later sources win; lists of plugins, disks, networks and shares are joined. Then what
 * contradicts itself is refused.
 */
export function resolveOptions(sources: readonly OptionSource[]): {
  readonly options: RunOptions;
  /** Fields that some source gave. */
  readonly given: ReadonlySet<keyof RunOptions>;
} {
  const layers = sources.map(readLayer);
  const plugins = layers.flatMap((layer) => layer.plugins ?? []);
  const disks = layers.flatMap((layer) => layer.disks ?? []);
  const nets = sinceNone(layers.flatMap((layer) => layer.nets ?? []));
  const shares = layers.flatMap((layer) => layer.shares ?? []);
  const lists = { plugins, disks, nets, shares };
  const options: RunOptions = Object.assign({}, DEFAULTS, ...layers, lists);
  refuseContradictions(options);
  const given = new Set(layers.flatMap((layer) => Object.keys(layer) as (keyof RunOptions)[]));
  return { options, given };
}

function readLayer(source: OptionSource): Layer {
  const { raw } = source;
  const path = (value: string | undefined) =>
    value === undefined ? undefined : source.resolvePath(value);
  const read = <T>(
    field: string,
    value: string | number | undefined,
    parse: (value: string | number) => T | undefined,
    expected: string,
  ): T | undefined => {
    if (value === undefined) return undefined;
    const parsed = parse(value);
    if (parsed !== undefined) return parsed;
    const shown = JSON.stringify(value);
    const name = source.nameOf(field);
    throw new VmmError(source.code, `${shown} is not ${expected}`, { path: name });
  };
  const integer = (field: string, value: string | number | undefined) =>
    read(field, value, parseInteger, 'a whole number');
  const count = (value: string | number) => parseInteger(value) || undefined;
  const size = (value: string | number) => parseSize(value) || undefined;
  const named = (field: string) => ({ ...source, name: source.nameOf(field) });
  return withoutUndefined<Layer>({
    backend: raw.backend,
    cpu: raw.cpu,
    jit: raw.jit,
    memory: read('memory', raw.memory, size, 'a size above 0 such as 256M or 1G'),
    cpus: read('cpus', raw.cpus, count, 'a whole number above 0'),
    kernel: path(raw.kernel),
    initrd: path(raw.initrd),
    append: raw.append,
    entry: raw.entry,
    flatMode: raw.flat?.mode,
    loadAddress: integer('flat.loadAddress', raw.flat?.loadAddress),
    virtio: raw.virtio,
    disks: raw.disks?.map((disk, index) => readDisk(disk, named(`disks[${index}]`))),
    nets: raw.nets?.map((net, index) => readNet(net, named(`nets[${index}]`))),
    vsock: raw.vsock === undefined ? undefined : readVsock(raw.vsock, named('vsock')),
    shares: raw.shares?.map((share, index) => readShare(share, named(`shares[${index}]`))),
    rng: raw.rng,
    assist: raw.assist,
    balloon: balloonSize(raw.balloon, read),
    console: raw.console,
    protect: raw.protect,
    sevHost: raw.sevHost,
    policy: integer('policy', raw.policy),
    platform: path(raw.platform),
    session: path(raw.session),
    dhCert: path(raw.dhCert),
    sendTo: path(raw.sendTo),
    measureOut: path(raw.measureOut),
    requireHardware: raw.requireHardware,
    dumpMemory: path(raw.dumpMemory),
    clock: raw.clock,
    seed: read('seed', raw.seed, parseSeed, 'a whole number of at most 64 bits'),
    timeout: read('timeout', raw.timeout, parseSeconds, 'a number of seconds above 0'),
    onReset: raw.onReset,
    exits: raw.exits === 'summary' ? raw.exits : path(raw.exits),
    record: path(raw.record),
    replay: path(raw.replay),
    save: path(raw.save),
    saveAt: integer('saveAt', raw.saveAt),
    restore: path(raw.restore),
    plugins: raw.plugins?.map((plugin) => ({
      module: typeof plugin === 'string' ? plugin : plugin.module,
      options: typeof plugin === 'string' ? {} : (plugin.options ?? {}),
      from: source.folder,
    })),
  });
}

/** `--balloon` alone is a balloon that asks for nothing. */
function balloonSize(
  value: RawOptions['balloon'],
  read: (
    field: string,
    value: string | number,
    parse: (value: string | number) => number | undefined,
    expected: string,
  ) => number | undefined,
): number | undefined {
  if (value === undefined || value === false) return undefined;
  return value === true ? 0 : read('balloon', value, parseSize, 'a size such as 64M');
}

function refuseContradictions(options: RunOptions): void {
  const refuse = (message: string): never => {
    throw new VmmError('invalid-argument', message);
  };
  if (options.record !== undefined && options.replay !== undefined) {
    refuse('--record and --replay exclude each other');
  }
  if (options.saveAt !== undefined && options.save === undefined) {
    refuse('--save-at needs --save FILE');
  }
  if (options.protect === undefined) {
    if (options.policy !== undefined) refuse('--policy needs --protect');
    if (options.measureOut !== undefined) refuse('--measure-out needs --protect');
    if (options.platform !== undefined) refuse('--platform needs --protect');
    if (options.session !== undefined) refuse('--session needs --protect');
  }
  if (options.sevHost !== undefined && options.protect !== 'sev-es') {
    refuse('--sev-host needs --protect sev-es');
  }
  refuseLostGuest(options);
  if ((options.session === undefined) !== (options.dhCert === undefined)) {
    refuse('--session and --dh-cert go together');
  }
  const emulated = options.backend === 'emu';
  if (options.session !== undefined && options.platform === undefined && emulated) {
    refuse('--session needs --platform: it is for one platform');
  }
  const shared = sharedFile(options.disks);
  if (shared !== undefined) refuse(`--disk: ${shared} is written to, and used a second time`);
  const tag = doubleTag(options.shares);
  if (tag !== undefined) refuse(`--share: two shares have the tag ${tag}`);
  if (options.assist && options.backend !== 'kvm') {
    throw new VmmError('invalid-argument', `--assist is of no use to backend ${options.backend}`, {
      remedy: 'leave it out, or give --backend kvm',
    });
  }
  if (options.kernel === undefined && options.restore === undefined) {
    throw new VmmError('invalid-argument', 'no kernel', {
      remedy: 'give --kernel FILE, or --restore FILE to go on with a saved VM',
    });
  }
  const flatGiven = options.flatMode !== undefined || options.loadAddress !== undefined;
  if (flatGiven && options.entry !== 'flat' && options.entry !== undefined) {
    refuse(`--flat-mode and --load-address need --entry flat, not --entry ${options.entry}`);
  }
}

/** A protected guest is saved for a platform, which has to be there when it goes on. */
function refuseLostGuest(options: RunOptions): void {
  const { protect, save, sendTo, platform, seed } = options;
  if (sendTo !== undefined && protect === undefined) {
    throw new VmmError('invalid-argument', '--send-to needs --protect');
  }
  if (sendTo !== undefined && save === undefined) {
    throw new VmmError('invalid-argument', '--send-to needs --save FILE');
  }
  if (protect === undefined || save === undefined) return;
  if ((options.backend !== 'emu' || sendTo) ?? platform ?? seed !== undefined) return;
  throw new VmmError('invalid-argument', '--save of a protected guest needs --platform', {
    remedy: 'the platform made for this run ends with it: give one that is kept, or --send-to DIR',
  });
}

function withoutUndefined<T extends object>(
  record: {
    [Key in keyof T]: T[Key] | undefined;
  },
): T {
  const entries = Object.entries(record).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries) as T;
}
