/**
 * The key server's client: caching, waiting, working offline.
 */
import * as files from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { type Authority, createAuthority } from '../testing/authority.js';
import { createKds, type KdsOptions } from './kds.js';
import { folderCache, memoryCache } from './kds-cache.js';
import { parseReport, type Report } from './report.js';
import { verifyReport } from './verify.js';

let amd: Authority;
let report: Report;
beforeAll(async () => {
  amd = await createAuthority('Turin');
  report = parseReport(await amd.report());
});

const pem = (...ders: Uint8Array[]): Uint8Array =>
  new TextEncoder().encode(
    ders
      .map((der) => {
        const base64 = btoa(String.fromCharCode(...der)).replace(/.{64}/g, '$&\n');
        return `-----BEGIN CERTIFICATE-----\n${base64}\n-----END CERTIFICATE-----\n`;
      })
      .join(''),
  );

type Reply = { readonly status: number; readonly body?: Uint8Array; readonly after?: string };

/** A server with these replies in order, and all that was asked and waited for. */
function server(...replies: Reply[]) {
  const asked: string[] = [];
  const waits: number[] = [];
  const options = {
    fetch: async (url: string) => {
      asked.push(url);
      const { status, body = new Uint8Array(), after } = replies.shift() ?? { status: 500 };
      const headers = new Map(after === undefined ? [] : [['retry-after', after]]);
      return {
        status,
        headers: { get: (name: string) => headers.get(name) ?? null },
        arrayBuffer: async () => Uint8Array.from(body).buffer,
      };
    },
    wait: async (milliseconds: number) => void waits.push(milliseconds),
    now: () => new Date('2026-06-01T00:00:00Z'),
  } satisfies KdsOptions;
  return { asked, waits, options };
}

describe('the client of the key server', () => {
  test('brings what a verification needs, each once', async () => {
    const { asked, options } = server(
      { status: 200, body: amd.vek.der },
      { status: 200, body: pem(amd.ask.der, amd.ark.der) },
      { status: 200, body: await amd.crl([]) },
    );
    const kds = createKds(options);
    for (let round = 0; round < 2; round++) {
      const vek = await kds.vcek(report);
      const certificates = [vek, ...(await kds.chain('Turin', 'vcek'))];
      const crl = [await kds.crl('Turin', 'vcek')];
      const at = options.now();
      const roots = [amd.ark.der];
      expect((await verifyReport({ report, certificates, crl, at, roots })).trusted).toBe(true);
    }
    expect(asked).toEqual([
      'https://kdsintf.amd.com/vcek/v1/Turin/a0a1a2a3a4a5a6a7?fmcSPL=1&blSPL=4&teeSPL=0&snpSPL=24&ucodeSPL=217',
      'https://kdsintf.amd.com/vcek/v1/Turin/cert_chain',
      'https://kdsintf.amd.com/vcek/v1/Turin/crl',
    ]);
  });

  test('waits longer each time it is refused with 429, or as long as it is told', async () => {
    const { asked, waits, options } = server(
      { status: 429 },
      { status: 429, after: '3' },
      { status: 503 },
      { status: 429, after: 'soon' },
      { status: 200, body: amd.vek.der },
    );
    await createKds({ ...options, waitMax: 30_000 }).vcek(report);
    expect(waits).toEqual([10_000, 3_000, 30_000, 30_000]);
    expect(asked).toHaveLength(5);
  });

  test('gives up after so many attempts, and at once when there is no such chip', async () => {
    const busy = server(...Array.from({ length: 9 }, () => ({ status: 429 })));
    const kds = createKds({ ...busy.options, attempts: 3 });
    await expect(kds.vcek(report)).rejects.toMatchObject({ code: 'unavailable' });
    expect(busy.asked).toHaveLength(3);
    const none = server({ status: 404 });
    await expect(createKds(none.options).vcek(report)).rejects.toThrow(/404/);
    expect(none.waits).toEqual([]);
  });

  test('does not keep what it cannot read, and asks again for what was kept damaged', async () => {
    const cache = memoryCache();
    const url = 'https://kdsintf.amd.com/vcek/v1/Turin/cert_chain';
    const bad = server({ status: 200, body: new TextEncoder().encode('<html>') });
    const first = createKds({ ...bad.options, cache }).chain('Turin', 'vcek');
    await expect(first).rejects.toMatchObject({ code: 'invalid-file' });
    expect(await cache.get(url)).toBeUndefined();
    await cache.put(url, Uint8Array.of(0x30, 1));
    const good = server({ status: 200, body: pem(amd.ask.der, amd.ark.der) });
    expect(await createKds({ ...good.options, cache }).chain('Turin', 'vcek')).toHaveLength(2);
  });

  test('asks for a list again when its next update is due', async () => {
    const old = await amd.crl([], { nextUpdate: '2026-05-01T00:00:00Z' });
    const { asked, options } = server({ status: 200, body: old }, { status: 200, body: old });
    const kds = createKds(options);
    await kds.crl('Turin', 'vcek');
    await kds.crl('Turin', 'vcek');
    expect(asked).toHaveLength(2);
  });

  test('offline takes what a folder has and sends nothing', async () => {
    const folder = await files.mkdtemp(join(tmpdir(), 'kds-'));
    const { options } = server({ status: 200, body: amd.vek.der });
    await createKds({ ...options, cache: folderCache(folder, files) }).vcek(report);
    const { asked, options: silent } = server();
    const kds = createKds({ ...silent, cache: folderCache(folder, files), offline: true });
    expect((await kds.vcek(report)).der).toEqual(amd.vek.der);
    await expect(kds.chain('Turin', 'vcek')).rejects.toMatchObject({ code: 'unavailable' });
    expect(asked).toEqual([]);
    expect(await files.readdir(folder)).toHaveLength(1);
    await files.rm(folder, { recursive: true });
  });

  test('turns a cache that fails into the typed error', async () => {
    const { options } = server({ status: 200, body: amd.vek.der });
    const full = () => Promise.reject(new Error('no space'));
    const kds = createKds({ ...options, cache: { get: async () => undefined, put: full } });
    await expect(kds.vcek(report)).rejects.toMatchObject({ code: 'io-failed' });
  });

  test('says what it cannot know', async () => {
    const { options } = server();
    const kds = createKds(options);
    const vlek = parseReport(await amd.report((_, view) => view.setUint32(0x48, 4, true)));
    await expect(kds.vcek(vlek)).rejects.toThrow(/no vlek certificate/);
    const masked = parseReport(await amd.report((bytes) => bytes.fill(0, 0x1a0, 0x1e0)));
    await expect(kds.vcek(masked)).rejects.toThrow(/masks its chip/);
    const old = parseReport(await amd.report((_, view) => view.setUint32(0, 2, true)));
    await expect(kds.vcek(old)).rejects.toThrow(/product/);
  });

  test('turns a network that fails into the typed error', async () => {
    const fetch = () => Promise.reject(new TypeError('fetch failed'));
    await expect(createKds({ fetch }).vcek(report)).rejects.toMatchObject({ code: 'unavailable' });
    const broken = server({ status: 200 });
    const halfway = async (url: string) => ({
      ...(await broken.options.fetch(url)),
      arrayBuffer: () => Promise.reject(new TypeError('terminated')),
    });
    const kds = createKds({ ...broken.options, fetch: halfway });
    await expect(kds.vcek(report)).rejects.toMatchObject({ code: 'unavailable' });
  });
});
