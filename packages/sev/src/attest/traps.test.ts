/**
 * What other verifiers got wrong, or their users stumbled over: one test for each, named after it.
 */
import { beforeAll, describe, expect, test } from 'vitest';
import {
  ASK_SERIAL,
  type Authority,
  createAuthority,
  issue,
  vekContents,
} from '../testing/authority.js';
import { encodeCertTable, parseCertTable } from './cert-table.js';
import { createKds } from './kds.js';
import type { Product } from './product.js';
import { parseReport } from './report.js';
import { encodeTcb } from './tcb.js';
import { type VerifyOptions, verifyReport } from './verify.js';

const AT = new Date('2026-06-01T00:00:00Z');
const authorities = new Map<Product, Authority>();
beforeAll(async () => {
  const milan = await createAuthority('Milan');
  authorities.set('Milan', milan);
  for (const product of ['Genoa', 'Turin', 'Venice'] as const) {
    authorities.set(product, await createAuthority(product, milan));
  }
});

const amd = (product: Product): Authority => authorities.get(product)!;

/** In place of the roots that are passed otherwise: those built in. */
const AMDS_ROOTS = { roots: undefined } as unknown as Partial<VerifyOptions>;

/** The checks that failed. */
async function failures(product: Product, options: Partial<VerifyOptions>): Promise<string[]> {
  const { ark, ask, vek } = amd(product);
  const { checks } = await verifyReport({
    certificates: [vek.der, ask.der, ark.der],
    roots: [ark.der],
    at: AT,
    report: await amd(product).report(),
    ...options,
  });
  return checks.filter(({ ok }) => !ok).map(({ id }) => id);
}

describe('trap: the report', () => {
  test('is verified over the bytes received, with all that nobody understood', async () => {
    const report = await amd('Turin').report((bytes) => {
      bytes.fill(0xa5, 0x208, 0x2a0);
      bytes[0x4f] = 0x80;
      bytes[0x1ef] = 1;
    });
    expect(await failures('Turin', { report })).toEqual([]);
  });

  test('may have bit 6 of PLATFORM_INFO, as Turin machines do', async () => {
    const report = await amd('Turin').report((_, view) => view.setBigUint64(0x40, 0x40n, true));
    expect(await failures('Turin', { report })).toEqual([]);
    expect(parseReport(report).platformInfo.unknown).toBe(0x40n);
  });

  test('of version 2 names no product, and is verified by the certificate’s', async () => {
    const old = await amd('Milan').report((bytes, view) => {
      view.setUint32(0, 2, true);
      bytes.fill(0, 0x188, 0x18b);
      bytes.fill(0, 0x1f8, 0x208);
    });
    expect(parseReport(old).product).toBeUndefined();
    expect(await failures('Milan', { report: old })).toEqual([]);
    expect(await failures('Milan', { report: old, product: 'Genoa' })).toEqual(['chain.product']);
  });

  test('of a version to come is refused with a reason, and read on demand', async () => {
    const later = await amd('Turin').report((_, view) => view.setUint32(0, 6, true));
    expect(() => parseReport(later)).toThrow(/version 6/);
    expect(await failures('Turin', { report: later, laterVersions: true })).toEqual([]);
  });

  test('has committed TCB, versions, launch TCB, mitigations at 1E0, 1E8, 1F0, 1F8', () => {
    const bytes = new Uint8Array(0x4a0);
    bytes[0] = 5;
    for (let at = 0x1e0; at < 0x208; at++) bytes[at] = at & 0xff;
    const read = parseReport(bytes);
    expect([...read.tcb.committed]).toEqual([0xe0, 0xe1, 0xe2, 0xe3, 0xe4, 0xe5, 0xe6, 0xe7]);
    expect(read.currentFirmware).toEqual({ build: 0xe8, minor: 0xe9, major: 0xea });
    expect(read.committedFirmware).toEqual({ build: 0xec, minor: 0xed, major: 0xee });
    expect([...read.tcb.launch]).toEqual([0xf0, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7]);
    expect(read.mitigations?.launch).toBe(0xfffefdfcfbfaf9f8n);
    expect(read.mitigations?.current).toBe(0x0706050403020100n);
  });
});

describe('trap: the processor', () => {
  test.each([0xa0, 0xaf])('Bergamo and Siena (model %i) have the keys of Genoa', async (model) => {
    const report = await amd('Genoa').report((bytes) => void (bytes[0x189] = model));
    expect(await failures('Genoa', { report })).toEqual([]);
  });

  test('Turin has its levels in another order, with FMC, and a chip by 8 bytes', async () => {
    const { tcb } = amd('Turin');
    const report = await amd('Turin').report();
    expect([...report.subarray(0x180, 0x188)]).toEqual([1, 4, 0, 24, 0, 0, 0, 217]);
    const asMilan = await amd('Turin').report((bytes) => {
      bytes.set(encodeTcb(tcb, 'Milan'), 0x180);
    });
    expect(await failures('Turin', { report: asMilan })).toEqual(['chain.tcb']);
    const longer = await amd('Turin').report((bytes) => void (bytes[0x1a8] = 1));
    expect(await failures('Turin', { report: longer })).toEqual(['chain.chip']);
  });

  test('Venice has no root known here: that is a failed check, not an error', async () => {
    expect(await failures('Venice', {})).toEqual([]);
    expect(await failures('Venice', AMDS_ROOTS)).toEqual(['chain.root-key']);
  });
});

describe('trap: the chain', () => {
  test('ends at AMD’s key and not at whoever bears the name', async () => {
    for (const product of ['Milan', 'Genoa', 'Turin'] as const) {
      expect(await failures(product, AMDS_ROOTS)).toEqual(['chain.root-key']);
    }
  });

  test('is refused where the VCEK lacks a level, and where it is for another chip', async () => {
    const { vek, ask, tcb, chipId } = amd('Turin');
    const all = vekContents({ productName: 'Turin', tcb, hwid: chipId });
    const without = all.filter(({ extnID }) => !extnID.endsWith('.3.3'));
    const options = { subject: 'SEV-VCEK', issuer: 'SEV-Turin', signer: ask.keys.privateKey };
    const { der } = await issue({ ...options, keys: vek.keys, extensions: without });
    await expect(failures('Turin', { vek: der })).rejects.toThrow(/no extension .*\.3\.3/);
    const other = await amd('Turin').reissue({ hwid: chipId.toReversed() });
    expect(await failures('Turin', { vek: other })).toEqual(['chain.chip']);
    const unnamed = all.filter(({ extnID }) => !extnID.endsWith('.4'));
    const bare = await issue({ ...options, keys: vek.keys, extensions: unnamed });
    expect(await failures('Turin', { vek: bare.der })).toEqual(['chain.chip']);
  });

  test.each(['Milan', 'Turin'] as const)('%s has HWID bare or in an OCTET STRING', async (name) => {
    const { chipId } = amd(name);
    const wrapped = Uint8Array.of(4, chipId.length, ...chipId);
    const vek = await amd(name).reissue({ hwid: wrapped });
    expect(await failures(name, { vek })).toEqual([]);
  });

  test('of a VLEK goes by the ASVK, and names no chip', async () => {
    const { ark, vek, tcb } = amd('Milan');
    const asvk = await issue({
      subject: 'SEV-VLEK-Milan',
      issuer: 'ARK-Milan',
      signer: ark.keys.privateKey,
      serial: 0x22,
      authority: true,
    });
    const vlek = await issue({
      subject: 'SEV-VLEK',
      issuer: 'SEV-VLEK-Milan',
      signer: asvk.keys.privateKey,
      keys: vek.keys,
      extensions: vekContents({ productName: 'Milan', tcb, cspId: 'CN=csp.example' }),
    });
    const report = await amd('Milan').report((bytes, view) => {
      view.setUint32(0x48, 1 << 2, true);
      bytes.fill(0, 0x1a0, 0x1e0);
    });
    const certificates = [vlek.der, asvk.der, ark.der, vek.der, amd('Milan').ask.der];
    expect(await failures('Milan', { report, certificates })).toEqual([]);
    const crl = [await amd('Milan').crl([0x22])];
    expect(await failures('Milan', { report, certificates, crl })).toEqual(['chain.revocation']);
  });

  test('every VCEK has the serial 0: a list revokes intermediates', async () => {
    expect(await failures('Milan', { crl: [await amd('Milan').crl([0])] })).toEqual([]);
    const crl = [await amd('Milan').crl([0, ASK_SERIAL])];
    expect(await failures('Milan', { crl })).toEqual(['chain.revocation']);
  });

  test('ends with its dates', async () => {
    const at = new Date('2036-01-01T00:00:00Z');
    expect(await failures('Genoa', { at })).toEqual([
      'chain.vek-dates',
      'chain.intermediate-dates',
      'chain.root-dates',
    ]);
  });
});

test('trap: the VCEK is asked for by REPORTED_TCB, whatever CURRENT_TCB is', async () => {
  const { vek, ask, ark, tcb } = amd('Milan');
  const report = parseReport(
    await amd('Milan').report((bytes) => {
      bytes.set(encodeTcb({ ...tcb, snp: tcb.snp + 1 }, 'Milan'), 0x38);
    }),
  );
  const asked: string[] = [];
  const kds = createKds({
    fetch: async (url) => {
      asked.push(url);
      const arrayBuffer = async () => vek.der.buffer;
      return { status: 200, headers: { get: () => null }, arrayBuffer };
    },
  });
  const certificates = [await kds.vcek(report), ask.der, ark.der];
  expect(asked[0]).toMatch(/\/Milan\/(a[0-9a-f]|[b-d][0-9a-f]){64}\?blSPL=4&teeSPL=0&snpSPL=24&/);
  expect(await failures('Milan', { report, certificates })).toEqual([]);
});

describe('trap: the defaults', () => {
  test('debugging and other VMPLs are refused; a minimum TCB nobody set is named', async () => {
    const debug = await amd('Milan').report((_, view) => view.setBigUint64(8, 0xb001fn, true));
    expect(await failures('Milan', { report: debug })).toEqual(['policy.debug']);
    const vmpl = await amd('Milan').report((_, view) => view.setUint32(0x30, 1, true));
    expect(await failures('Milan', { report: vmpl })).toEqual(['policy.vmpl']);
    const { ark, ask, vek } = amd('Milan');
    const { unchecked } = await verifyReport({
      report: await amd('Milan').report(),
      certificates: [vek.der, ask.der, ark.der],
      roots: [ark.der],
      at: AT,
    });
    expect(unchecked).toContain('minimumTcb');
  });
});

describe('trap: the certificate table', () => {
  const table = encodeCertTable([{ kind: 'vcek', data: new Uint8Array(16) }]);

  test('has offsets and lengths whose sum wraps in 32 bits: refused', () => {
    const bytes = table.slice();
    const view = new DataView(bytes.buffer);
    view.setUint32(16, 0xffffffe0, true);
    view.setUint32(20, 0x30, true);
    expect(() => parseCertTable(bytes)).toThrow(/certificate table/);
  });

  test('has GUIDs in the order of RFC 4122; mixed-endian ones are unknown', () => {
    const mixed = table.slice();
    mixed.set([...mixed.slice(0, 4)].reverse(), 0);
    mixed.set([...mixed.slice(4, 6)].reverse(), 4);
    mixed.set([...mixed.slice(6, 8)].reverse(), 6);
    expect(parseCertTable(table)[0]).toMatchObject({ kind: 'vcek' });
    expect(parseCertTable(mixed)[0]).not.toHaveProperty('kind');
  });
});
