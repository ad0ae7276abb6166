/**
 * `cloister attest`: attestation reports on the command line, over @cloister/sev.
 */
import * as files from 'node:fs/promises';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { isVmmError, VmmError } from '@cloister/core';
import {
  type Certificate,
  createKds,
  folderCache,
  type KdsOptions,
  type Policy,
  parseCertificates,
  parseCrl,
  parseReport,
  type Report,
  reportJson,
  type Stage,
  type Verdict,
  vekExtensions,
  verifyReport,
} from '@cloister/sev/attest';
import type { AttestFlags, AttestInvocation } from './attest-arguments.js';
import {
  certificateFiles,
  certificateOf,
  type Pile,
  parsed,
  pileOf,
  policyOf,
} from './attest-files.js';
import { fileError } from './error-report.js';
import { EXIT } from './exit-status.js';

/** Exit statuses of `attest`: the issue of a verification, and not those of a run. */
const FAILURES: Readonly<Record<Stage, number>> = { signature: 2, chain: 3, policy: 4 };
const BAD_INPUT = 1;

/** The status for something thrown by `attest`: a bug is 6, all else is bad input. */
export function attestStatusOfError(error: unknown): number {
  return isVmmError(error) && error.code !== 'internal' ? BAD_INPUT : EXIT.internal;
}

export interface AttestPorts {
  readonly cwd: string;
  /** Writes a result to standard output. */
  readonly print: (text: string) => Promise<void>;
  readonly warn: (line: string) => void;
  /** For tests: the network. */
  readonly fetch?: KdsOptions['fetch'];
}

/** Runs the command; resolves to the exit status. */
export async function attest(invocation: AttestInvocation, ports: AttestPorts): Promise<number> {
  const { action, flags } = invocation;
  const { laterVersions = false } = flags;
  const report = parsed('report', resolve(ports.cwd, invocation.report), (bytes) =>
    parseReport(bytes, { laterVersions }),
  );
  if (action === 'show') {
    const json = reportJson(report, flags.product);
    await ports.print(flags.json === true ? jsonText(json) : lines(json));
    return EXIT.ok;
  }
  if (action === 'fetch') return fetchAll(report, flags, ports);
  const verdict = await verify(report, flags, ports);
  await ports.print(flags.json === true ? jsonText(verdictJson(verdict)) : verdictText(verdict));
  return verdict.failure === undefined ? EXIT.ok : FAILURES[verdict.failure];
}

async function verify(report: Report, flags: AttestFlags, ports: AttestPorts): Promise<Verdict> {
  const path = (name: string): string => resolve(ports.cwd, name);
  const policy: Policy = flags.policy === undefined ? {} : policyOf(path(flags.policy));
  const vek = flags.vek === undefined ? undefined : certificateOf(path(flags.vek));
  const found =
    flags.certs === undefined && flags.chain === undefined
      ? await fromServer(report, flags, ports, vek)
      : pileOf([
          ...(flags.certs === undefined ? [] : certificateFiles(path(flags.certs))),
          ...(flags.chain === undefined ? [] : [path(flags.chain)]),
        ]);
  return verifyReport({
    certificates: found.certificates,
    report,
    policy,
    ...(vek === undefined ? {} : { vek }),
    crl: flags.crl === undefined ? found.crl : [parsed('crl', path(flags.crl), parseCrl)],
    ...(flags.roots === undefined
      ? {}
      : { roots: parsed('roots', path(flags.roots), parseCertificates) }),
    ...(flags.at === undefined ? {} : { at: timeOf(flags.at) }),
    ...(flags.product === undefined ? {} : { product: flags.product }),
  });
}

function serverOf(flags: AttestFlags, ports: AttestPorts) {
  const home = process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache');
  const folder = flags.cache ? resolve(ports.cwd, flags.cache) : join(home, 'cloister', 'kds');
  return createKds({
    cache: folderCache(folder, files),
    offline: flags.offline ?? false,
    ...(flags.kds === undefined ? {} : { base: flags.kds.replace(/\/+$/, '') }),
    ...(ports.fetch === undefined ? {} : { fetch: ports.fetch }),
  });
}

/** Certificates of the cache or the key server; a VLEK is to be had from neither. */
async function fromServer(
  report: Report,
  flags: AttestFlags,
  ports: AttestPorts,
  vek?: Certificate,
): Promise<Pile> {
  const kds = serverOf(flags, ports);
  const product = report.product ?? flags.product ?? (vek && vekExtensions(vek).product);
  if (product === undefined) {
    throw new VmmError('invalid-argument', 'the report does not say its product', {
      remedy: 'name it with --product, or give --vek or --certs',
    });
  }
  const kind = report.signingKey === 'vlek' ? 'vlek' : 'vcek';
  const own = kind === 'vcek' && vek === undefined ? [await kds.vcek(report, product)] : [];
  const chain = await kds.chain(product, kind);
  const crl = await kds.crl(product, kind).catch((error: unknown) => {
    // The chain can be judged without it; a policy may demand it.
    if (!isVmmError(error)) throw error;
    ports.warn(`cloister: no revocation list: ${error.message}`);
    return undefined;
  });
  return { certificates: [...own, ...chain], crl: crl === undefined ? [] : [crl] };
}

async function fetchAll(report: Report, flags: AttestFlags, ports: AttestPorts): Promise<number> {
  const { certificates, crl } = await fromServer(report, flags, ports);
  if (report.signingKey === 'vlek') {
    ports.warn('cloister: the VLEK itself is not to be had there: it comes with the report');
  }
  const written = [
    ...certificates.map(({ commonName, der }) => ({ name: `${commonName}.der`, der })),
    ...crl.map(({ der }) => ({ name: 'crl.der', der })),
  ];
  if (flags.out !== undefined) {
    const folder = resolve(ports.cwd, flags.out);
    try {
      await files.mkdir(folder, { recursive: true });
      for (const { name, der } of written) await files.writeFile(join(folder, safe(name)), der);
    } catch (cause) {
      throw fileError('out', folder, cause);
    }
  }
  await ports.print(`${written.map(({ name }) => safe(name)).join('\n')}\n`);
  return EXIT.ok;
}

/** A name in a certificate is the server's word: it must not choose a folder. */
const safe = (name: string): string => name.replace(/[^A-Za-z0-9.-]/g, '_');

function timeOf(text: string): Date {
  const time = new Date(/^\d+$/.test(text) ? Number(text) * 1000 : text);
  if (Number.isNaN(time.getTime())) {
    throw new VmmError('invalid-argument', `--at ${JSON.stringify(text)} is no time`, {
      remedy: 'give 2026-03-01, 2026-03-01T12:00:00Z or seconds since 1970',
    });
  }
  return time;
}

const jsonText = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`;

function verdictJson({ trusted, failure, checks, unchecked, report, vek }: Verdict) {
  return {
    trusted,
    failure: failure ?? null,
    checks,
    unchecked,
    report: reportJson(report, vek.product),
  };
}

function verdictText({ trusted, failure, checks, unchecked }: Verdict): string {
  const rows = checks.flatMap(({ id, ok, expected, found }) =>
    ok ? [`ok    ${id}`] : [`WRONG ${id}`, `      expected ${expected}`, `      found    ${found}`],
  );
  const missing = unchecked.length === 0 ? [] : [`not checked: ${unchecked.join(', ')}`];
  const verdict = trusted ? 'trusted' : `not trusted: ${failure}`;
  return [...rows, ...missing, verdict, ''].join('\n');
}

/** `name  value` for each field, nested ones with a dot. */
function lines(json: object, prefix = ''): string {
  return Object.entries(json)
    .map(([name, value]) => {
      const path = `${prefix}${name}`;
      if (Array.isArray(value)) {
        return `${path.padEnd(26)}${value.map(text).join(' ') || 'none'}\n`;
      }
      if (typeof value === 'object' && value !== null) return lines(value, `${path}.`);
      return `${path.padEnd(26)}${text(value)}\n`;
    })
    .join('');
}

const text = (value: unknown): string =>
  typeof value === 'string' ? value : JSON.stringify(value);
