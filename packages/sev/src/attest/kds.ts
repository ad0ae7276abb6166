/**
 * A client of AMD's key distribution service: certificates and revocation lists for a report, from
 * a cache first. The service answers about one VCEK request in ten seconds for each address and
 * refuses the others with 429, so requests wait and try again; the network, the cache, the clock
 * and the waiting are ports.
 *
 * Source: AMD KDS specification (57230); RFC 9110 section 10.2.3 for Retry-After in seconds.
 */
import { VmmError } from '@cloister/core';
import { isZero } from './bytes.js';
import { type Certificate, parseCertificate, parseCertificates } from './certificate.js';
import { parseCrl, type RevocationList } from './crl.js';
import { type KdsCache, memoryCache } from './kds-cache.js';
import { KDS_BASE, type KeyKind, kdsUrl } from './kds-url.js';
import type { Product } from './product.js';
import type { Report } from './report.js';
import { decodeTcb } from './tcb.js';
import { wallClock, wallWait } from './wall-clock.js';

export interface KdsAnswer {
  readonly status: number;
  readonly headers: { get(name: string): string | null };
  arrayBuffer(): Promise<ArrayBuffer>;
}

export interface KdsOptions {
  /** Default: the global `fetch`. */
  readonly fetch?: (url: string, options: { signal: AbortSignal }) => Promise<KdsAnswer>;
  /** Default: one in memory, for as long as the client lives. */
  readonly cache?: KdsCache;
  readonly now?: () => Date;
  readonly wait?: (milliseconds: number) => Promise<void>;
  /** Take everything from the cache; nothing is sent. */
  readonly offline?: boolean;
  /** Another server with the same paths: a mirror or a proxy. */
  readonly base?: string;
  /** How often a request is made at most. Default 5. */
  readonly attempts?: number;
  /** Longest wait between two attempts. Default 60 s. */
  readonly waitMax?: number;
  /** When a request without an answer is given up. Default 30 s. */
  readonly timeout?: number;
}

export interface Kds {
  /** The intermediate and the root of a product. */
  chain(product: Product, kind: KeyKind): Promise<Certificate[]>;
  /** The list in force; a kept one is used until its next update is due. */
  crl(product: Product, kind: KeyKind): Promise<RevocationList>;
  /** The certificate of the key that signed a report: VCEK only. */
  vcek(report: Report, product?: Product): Promise<Certificate>;
}

const ANSWER_MAX = 0x400000;
const FIRST_WAIT = 10_000;

export function createKds(options: KdsOptions = {}): Kds {
  const { cache = memoryCache(), base = KDS_BASE, now = wallClock } = options;

  async function load<T>(
    url: string,
    read: (answer: Uint8Array) => T,
    fresh: (found: T) => boolean,
  ) {
    const kept = await keeping(url, () => cache.get(url));
    const found = kept && attempt(() => read(kept));
    if (found !== undefined && (fresh(found) || options.offline === true)) return found;
    if (options.offline === true) {
      throw new VmmError('unavailable', `offline, and not kept: ${url}`, {
        remedy: 'fetch it once with a network, or put it into the cache',
      });
    }
    const answer = await request(url, options);
    // Only what can be read is kept.
    const value = read(answer);
    await keeping(url, () => cache.put(url, answer));
    return value;
  }

  return {
    chain: (product, kind) => load(kdsUrl.chain(product, kind, base), parseCertificates, always),
    crl: (product, kind) =>
      load(kdsUrl.crl(product, kind, base), parseCrl, ({ nextUpdate }) => {
        return nextUpdate !== undefined && now() < nextUpdate;
      }),
    vcek: async (report, named) => {
      const product = report.product ?? named;
      if (product === undefined) {
        throw new VmmError('invalid-argument', 'the report does not say its product', {
          remedy: 'reports before version 3 do not: name it',
        });
      }
      if (report.signingKey !== 'vcek') {
        throw new VmmError(
          'unavailable',
          `the key server has no ${report.signingKey} certificate`,
          {
            remedy: 'a VLEK comes from the provider, beside the report',
          },
        );
      }
      if (isZero(report.chipId)) {
        throw new VmmError('unavailable', 'the report masks its chip');
      }
      const tcb = decodeTcb(report.tcb.reported, product);
      return load(kdsUrl.vcek(product, report.chipId, tcb, base), parseCertificate, always);
    },
  };
}

const always = (): boolean => true;

async function keeping<T>(url: string, use: () => Promise<T>): Promise<T> {
  try {
    return await use();
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new VmmError('io-failed', `the cache failed for ${url}: ${why}`, {
      cause,
      remedy: 'choose another folder, or one that can be written',
    });
  }
}

/** A kept answer that cannot be read is as good as none. */
function attempt<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}

async function request(url: string, options: KdsOptions): Promise<Uint8Array> {
  const { attempts = 5, waitMax = 60_000, wait = wallWait } = options;
  let pause = FIRST_WAIT;
  for (let left = attempts - 1; ; left--) {
    const answer = await send(url, options);
    if (answer.status === 200) return body(url, answer);
    const again = answer.status === 429 || answer.status >= 500;
    if (!again || left <= 0) throw refused(url, answer.status);
    const asked = Number(answer.headers.get('retry-after') ?? Number.NaN) * 1000;
    await wait(Math.min(asked > 0 ? asked : pause, waitMax));
    pause *= 2;
  }
}

async function send(url: string, { fetch = globalThis.fetch, timeout = 30_000 }: KdsOptions) {
  return answered(url, fetch(url, { signal: AbortSignal.timeout(timeout) }));
}

/** A network that fails, before an answer or in the middle of one, is not the caller's bug. */
async function answered<T>(url: string, pending: Promise<T>): Promise<T> {
  try {
    return await pending;
  } catch (cause) {
    throw new VmmError('unavailable', `no answer from ${url}`, {
      cause,
      remedy: 'is there a network? certificates can also be given as files',
    });
  }
}

async function body(url: string, answer: KdsAnswer): Promise<Uint8Array> {
  const stated = Number(answer.headers.get('content-length') ?? 0);
  if (stated <= ANSWER_MAX) {
    const bytes = new Uint8Array(await answered(url, answer.arrayBuffer()));
    if (bytes.length <= ANSWER_MAX) return bytes;
  }
  throw new VmmError('invalid-file', `too long an answer from ${url}`);
}

function refused(url: string, status: number): VmmError {
  const remedy =
    status === 404
      ? 'the server knows no such chip, product or TCB'
      : 'try again later, or use certificates that were kept';
  return new VmmError('unavailable', `status ${status} from ${url}`, { remedy });
}
