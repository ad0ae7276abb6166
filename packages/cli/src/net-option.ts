/**
 * `--net passt|tap=NAME|none[,mac=MAC][,mtu=N][,bps=SIZE][,tcp=PORTS][,udp=PORTS]
 * [,pcap=FILE[,pcap-limit=SIZE]]`: a network device as a word of the command line, and the same as
 * an object of the configuration.
 */
import { VmmError } from '@cloister/core';
import { parseMac } from '@cloister/virtio';
import type { NamedSource } from './named-source.js';
import { parseInteger, parseSize } from './quantity.js';

export const NET_HELP =
  'a network: passt|tap=NAME|none[,mac=MAC][,mtu=N][,bps=SIZE] [,pcap=FILE[,pcap-limit=SIZE]], ' +
  'with passt also [,tcp=PORTS][,udp=PORTS]; repeatable';

export interface NetChoice {
  /** `none` takes back what was given before it. */
  readonly backend: 'passt' | 'tap' | 'none';
  /** Interface of a TAP. */
  readonly tap: string | undefined;
  readonly mac: Uint8Array | undefined;
  /** Largest payload of a frame; the backend's own unless given. */
  readonly mtu: number | undefined;
  /** Bytes per second in each direction. */
  readonly bps: number | undefined;
  /** Ports that passt forwards to the guest: `[ADDRESS/]HOST[:GUEST]`. */
  readonly tcp: readonly string[];
  readonly udp: readonly string[];
  /** All frames are written here. */
  readonly pcap: string | undefined;
  /** Most bytes of that file. */
  readonly pcapLimit: number | undefined;
}

/** A network of the configuration file. */
export interface RawNet {
  readonly backend: 'passt' | 'tap' | 'none';
  readonly tap?: string;
  readonly mac?: string;
  readonly mtu?: string | number;
  readonly bps?: string | number;
  readonly tcp?: readonly string[];
  readonly udp?: readonly string[];
  readonly pcap?: string;
  readonly 'pcap-limit'?: string | number;
}

const FORWARD = /^([0-9a-fA-F.:]+\/)?(\d{1,5})(-\d{1,5})?(:\d{1,5}(-\d{1,5})?)?$/;
const PARTS = 'mac=MAC, mtu=N, bps=SIZE, tcp=PORTS, udp=PORTS, pcap=FILE or pcap-limit=SIZE';
const PORT_MAX = 65_535;
const NET_KEYS: ReadonlySet<string> = new Set(['mac', 'mtu', 'bps', 'pcap', 'pcap-limit']);
/** A capture has a header at least. */
const PCAP_MIN = 24;
/** IPv4 hosts take packets of 68 bytes; a frame has room for 65535. */
const [MTU_MIN, MTU_MAX] = [68, 65_535];

/** Reads the word of `--net`. A comma always ends a part: such names need the configuration. */
export function parseNetWord(word: string): RawNet | string {
  const [first = '', ...parts] = word.split(',');
  const [kind, name] = first.split(/=(.*)/s);
  const isTap = kind === 'tap' && name !== undefined && name !== '';
  if (!isTap && first !== 'passt' && first !== 'none') {
    return `${JSON.stringify(first)} is not passt, tap=NAME or none`;
  }
  let net: RawNet = isTap ? { backend: 'tap', tap: name } : { backend: first as 'passt' | 'none' };
  for (const part of parts) {
    const [key = '', value] = part.split(/=(.*)/s);
    if ((key === 'tcp' || key === 'udp') && value)
      net = { ...net, [key]: [...(net[key] ?? []), value] };
    else if (NET_KEYS.has(key) && value) net = { ...net, [key]: value };
    else return `${JSON.stringify(part)} is not ${PARTS}`;
  }
  return net;
}

/** A network from either source. */
export function readNet(value: string | RawNet, source: NamedSource): NetChoice {
  const raw = typeof value === 'string' ? parseNetWord(value) : value;
  const wrong = typeof raw === 'string' ? raw : problem(raw);
  if (typeof raw === 'string' || wrong !== undefined) {
    throw new VmmError(source.code, wrong ?? '', { path: source.name });
  }
  const { backend, tap, mac, mtu, bps, tcp = [], udp = [], pcap, 'pcap-limit': limit } = raw;
  return {
    backend,
    tap,
    mac: mac === undefined ? undefined : (parseMac(mac) ?? undefined),
    mtu: mtu === undefined ? undefined : parseInteger(mtu),
    bps: bps === undefined ? undefined : parseSize(bps),
    tcp,
    udp,
    pcap: pcap === undefined ? undefined : source.resolvePath(pcap),
    pcapLimit: limit === undefined ? undefined : parseSize(limit),
  };
}

function problem(raw: RawNet): string | undefined {
  const { backend, tap, mac, mtu, bps, tcp = [], udp = [], pcap, 'pcap-limit': limit } = raw;
  const isTap = backend === 'tap';
  if (isTap !== (tap !== undefined)) return 'a TAP, and nothing else, has an interface';
  if (tap !== undefined && !/^[^\s/:]{1,15}$/.test(tap)) {
    return `${JSON.stringify(tap)} is no name of an interface`;
  }
  if (mac !== undefined && parseMac(mac) === null) {
    return `${JSON.stringify(mac)} is no address of a device, such as 52:54:00:12:34:56`;
  }
  const size = mtu === undefined ? MTU_MIN : (parseInteger(mtu) ?? 0);
  if (size < MTU_MIN || size > MTU_MAX) return `an MTU is from ${MTU_MIN} to ${MTU_MAX}`;
  if (bps !== undefined && !parseSize(bps)) return `${JSON.stringify(bps)} is no rate such as 10M`;
  if (limit !== undefined && !((parseSize(limit) ?? 0) >= PCAP_MIN)) {
    return `${JSON.stringify(limit)} is no length of a capture such as 100M`;
  }
  if (limit !== undefined && pcap === undefined) return 'without a capture it has no limit';
  const forwards = [...tcp, ...udp];
  if (backend !== 'passt' && forwards.length > 0) return 'only passt forwards ports';
  const bad = forwards.find((each) => !isForward(each));
  if (bad !== undefined) return `${JSON.stringify(bad)} is not [ADDRESS/]HOST[:GUEST]`;
  const hasMore = [mac, mtu, bps, pcap].some((each) => each !== undefined);
  return backend === 'none' && hasMore ? 'none has no address, MTU, rate or capture' : undefined;
}

function isForward(text: string): boolean {
  const ports = text.replace(/^.*\//, '').split(/[-:]/);
  return FORWARD.test(text) && ports.every((port) => Number(port) >= 1 && Number(port) <= PORT_MAX);
}

/** What comes after the last `none`. */
export function sinceNone(nets: readonly NetChoice[]): readonly NetChoice[] {
  return nets.slice(nets.findLastIndex(({ backend }) => backend === 'none') + 1);
}
