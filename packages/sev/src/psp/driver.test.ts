/**
 * The driver over an emulated mailbox: a guest's whole life by typed commands, refusals as errors,
 * and host memory that is given back.
 */
import { createHash } from 'node:crypto';
import { isVmmError } from '@cloister/core';
import { describe, expect, test } from 'vitest';
import { POLICY } from '../abi/policy.js';
import { parseLegacyCertificate } from '../attest/index.js';
import { firmwareImage } from '../firmware/firmware-image.js';
import { authorityChain, certifiedCek, KeyedMemory, seededEntropy } from '../firmware/index.js';
import { checkLaunchMeasure } from '../measure/index.js';
import { otherChip, testChip } from '../testing/emulated-chip.js';
import { AsidPool } from './asid-pool.js';
import { type EmulatedPsp, emulatedPsp } from './emulated-psp.js';
import { SevFirmwareError } from './error.js';
import { mailboxTransport } from './mailbox-transport.js';

const PAGE = 4096;
const MEMORY = 0x10000;
const text = new Uint8Array(PAGE).map((_, at) => at * 31);
const zeroTik = new Uint8Array(16);

function platform(chip = testChip): EmulatedPsp & { readonly memory: KeyedMemory } {
  const memory = new KeyedMemory(MEMORY);
  const entropy = seededEntropy(chip === testChip ? 'one' : 'two');
  return { ...emulatedPsp({ memory, chip, entropy, asids: { max: 6, minNoEs: 3 } }), memory };
}

/** An initialized one with a running guest of one page at 0x2000, ASID 3. */
function running(policy = 0) {
  const parts = platform();
  parts.driver.init({ es: true });
  parts.driver.dfFlush();
  parts.memory.write(0x2000, text, 0);
  const handle = parts.driver.launchStart({ policy });
  const asid = parts.asids.take((policy & POLICY.ES) !== 0);
  parts.driver.activate(handle, asid);
  parts.driver.launchUpdateData(handle, 0x2000, PAGE);
  const measure = parts.driver.launchMeasure(handle);
  parts.driver.launchFinish(handle);
  return { ...parts, handle, asid, measure };
}

const refusal = (name: string) => expect.objectContaining({ statusName: name });

describe('a guest by typed commands', () => {
  test('is launched, measured, reported and ended', () => {
    const { driver, memory, handle, asid, measure, asids } = running();
    const digest = createHash('sha256').update(text).digest();
    const { version, guests, es } = driver.platformStatus();
    expect([guests, es]).toEqual([1, true]);
    expect(checkLaunchMeasure(measure, { version, policy: 0, digest, tik: zeroTik })).toBe(true);
    expect(driver.guestStatus(handle)).toEqual({ state: 'RUNNING', policy: 0, asid });
    const report = driver.attestation(handle, new Uint8Array(16).fill(9));
    expect(report.subarray(0x10, 0x30)).toEqual(Uint8Array.from(digest));
    expect(driver.debugRead(handle, 0x2000, 32)).toEqual(text.slice(0, 32));
    driver.debugWrite(handle, 0x2010, new Uint8Array(16).fill(1));
    const seen = new Uint8Array(48);
    memory.read(0x2000, seen, asid);
    expect(seen).toEqual(
      Uint8Array.from([...text.slice(0, 16), ...new Uint8Array(16).fill(1), ...text.slice(32, 48)]),
    );
    driver.copy(handle, 0x2000, 0x5000, PAGE);
    expect(driver.debugRead(handle, 0x5020, 16)).toEqual(text.slice(32, 48));
    driver.deactivate(handle);
    driver.decommission(handle);
    asids.give(asid);
    expect(driver.platformStatus().state).toBe('INIT');
    driver.shutdown();
    expect(driver.platformStatus().state).toBe('UNINIT');
  });

  test('goes to another platform and goes on there', () => {
    const source = running(POLICY.SEV);
    const target = platform(otherChip);
    target.driver.init();
    target.driver.dfFlush();
    const { pdh, pek, oca } = target.driver.pdhCertExport();
    const cek = certifiedCek(otherChip, { major: 1, minor: 55 });
    const chain = Uint8Array.from([...pek, ...oca, ...cek]);
    const authorities = authorityChain(otherChip.root());
    const sent = source.driver.sendStart(source.handle, { pdh, platform: chain, authorities });
    const packet = source.driver.sendUpdateData(source.handle, 0x2000, PAGE);
    source.driver.sendFinish(source.handle);
    const from = { ...sent, pdh: source.driver.pdhCertExport().pdh };
    const handle = target.driver.receiveStart(from);
    target.driver.activate(handle, 5);
    const header = packet.header.map((byte, at) => (at === 3 ? byte ^ 1 : byte));
    expect(() => target.driver.receiveUpdateData(handle, { ...packet, header }, 0x3000)).toThrow(
      refusal('BAD_MEASUREMENT'),
    );
    target.driver.receiveUpdateData(handle, packet, 0x3000);
    target.driver.receiveFinish(handle);
    const seen = new Uint8Array(PAGE);
    target.memory.read(0x3000, seen, 5);
    expect(seen).toEqual(text);
    expect(source.driver.guestStatus(source.handle).state).toBe('SENT');
  });

  test('leaves no host memory behind, whatever happens', () => {
    const { driver, handle, transport } = running();
    const free = () => transport.host.allocate(0x10_0000);
    const spa = free();
    transport.host.free(spa);
    for (let n = 0; n < 50; n++) {
      driver.pdhCertExport();
      expect(() => driver.launchMeasure(handle)).toThrow(refusal('INVALID_GUEST_STATE'));
    }
    expect(free()).toBe(spa);
  });

  test('an INIT that is refused leaves the trusted region to the platform', () => {
    const { driver, transport } = platform();
    driver.init({ es: true });
    for (const es of [true, false]) {
      expect(() => driver.init({ es })).toThrow(refusal('INVALID_PLATFORM_STATE'));
      // Room for one region more is not there while the first one is in use.
      expect(() => transport.host.allocate(0x10_0001)).toThrow('no 1048577 bytes');
    }
    driver.shutdown();
    driver.init({ es: true });
    driver.shutdown();
    expect(transport.host.allocate(0x20_0000)).toBeGreaterThan(0);
  });
});

describe('the platform by typed commands', () => {
  test('shows keys and certificates, and takes an owner', () => {
    const { driver } = platform();
    driver.init();
    const { pdh, pek } = driver.pdhCertExport();
    expect(parseLegacyCertificate(pdh).usage).toBe('pdh');
    expect(driver.pekCsr().subarray(0, 0x414)).toEqual(pek.slice(0, 0x414));
    driver.pdhGen();
    expect(driver.pdhCertExport().pdh).not.toEqual(pdh);
    driver.pekGen();
    expect(driver.pdhCertExport().pek).not.toEqual(pek);
    expect(driver.chipId().length).toBe(64);
    expect(() => driver.pekCertImport(pek, pek)).toThrow(SevFirmwareError);
    expect(driver.platformStatus().externallyOwned).toBe(false);
    driver.shutdown();
    driver.factoryReset();
    driver.downloadFirmware(firmwareImage({ major: 1, minor: 60, build: 3 }));
    expect(driver.platformStatus().version).toEqual({ major: 1, minor: 60, build: 3 });
  });

  test('refusals are errors with command, status and what to do', () => {
    const { driver } = platform();
    const refused = attempt(() => driver.pekGen());
    expect(refused).toMatchObject({
      code: 'io-failed',
      command: 'PEK_GEN',
      status: 1,
      statusName: 'INVALID_PLATFORM_STATE',
      remedy: 'initialize the platform first, or shut it down',
    });
    expect(isVmmError(refused)).toBe(true);
    driver.init();
    expect(attempt(() => driver.init({ es: true }))).toMatchObject({ status: 1 });
    expect(attempt(() => driver.launchStart({ policy: 1 << 7 }))).toMatchObject({ status: 7 });
  });

  test('without a secure processor is unavailable; one that is silent is given up', () => {
    const { transport } = platform();
    const { host, wbinvd } = transport;
    const silent = { read32: () => 1, write32: () => {} };
    const absent = { ...silent, read32: () => 0 };
    expect(() => mailboxTransport({ registers: absent, host, wbinvd })).toThrow('no secure');
    const made = mailboxTransport({ registers: silent, host, wbinvd });
    expect(() => made.command(4, 0)).toThrow('does not answer command 4');
  });
});

test('ASIDs of a host are flushed only when no other is left', () => {
  const { driver, limits } = running();
  let flushes = 0;
  const asids = new AsidPool(limits, () => {
    flushes++;
    driver.dfFlush();
  });
  // The guest that runs already has the first.
  expect(asids.take(false)).toBe(3);
  const launch = () => {
    const handle = driver.launchStart({ policy: 0 });
    const asid = asids.take(false);
    driver.activate(handle, asid);
    driver.launchMeasure(handle);
    driver.launchFinish(handle);
    return { handle, asid };
  };
  const taken = [launch(), launch(), launch()];
  expect(taken.map(({ asid }) => asid)).toEqual([4, 5, 6]);
  expect(() => asids.take(false)).toThrow('every ASID for SEV guests is in use');
  expect(asids.take(true)).toBe(1);
  for (const { handle, asid } of taken) {
    driver.deactivate(handle);
    asids.give(asid);
    asids.give(asid);
  }
  expect(flushes).toBe(0);
  expect([launch().asid, launch().asid, flushes]).toEqual([4, 5, 1]);
});

function attempt(work: () => unknown): unknown {
  try {
    work();
  } catch (error) {
    return error;
  }
  throw new Error('it was not refused');
}
