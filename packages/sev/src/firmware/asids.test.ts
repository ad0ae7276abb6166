/**
 * PSP-09, PSP-10: whose ASID is whose, in which order it changes hands, and which are for whom.
 */
import { describe, expect, test } from 'vitest';
import { POLICY } from '../abi/policy.js';
import { STATUS } from '../abi/status.js';
import { toHex } from '../bytes.js';
import { AT, FirmwareBench } from '../testing/firmware-bench.js';
import { AsidTable } from './asids.js';

describe('PSP-09 ACTIVATE, DEACTIVATE, DF_FLUSH, DECOMMISSION', () => {
  const started = () => new FirmwareBench().start();

  test('an ASID in use is refused, and a guest with an ASID gets no other', () => {
    const bench = started();
    const first = bench.guest('RUNNING', { asid: 5 });
    const second = bench.ok('LAUNCH_START').handle!;
    expect(bench.run('ACTIVATE', { handle: second, asid: 5 }).status).toBe(STATUS.ASID_OWNED);
    expect(bench.run('ACTIVATE', { handle: first, asid: 6 }).status).toBe(STATUS.ACTIVE);
    expect(bench.ok('GUEST_STATUS', { handle: first }).asid).toBe(5);
  });

  test('one whose guest has run is free only after WBINVD and DF_FLUSH', () => {
    const bench = started();
    const handle = bench.guest('RUNNING', { asid: 5 });
    const next = bench.ok('LAUNCH_START').handle!;
    const activate = () => bench.run('ACTIVATE', { handle: next, asid: 5 }).status;
    bench.ok('DEACTIVATE', { handle });
    expect(activate()).toBe(STATUS.DFFLUSH_REQUIRED);
    expect(bench.run('DF_FLUSH').status).toBe(STATUS.WBINVD_REQUIRED);
    expect(activate()).toBe(STATUS.DFFLUSH_REQUIRED);
    bench.processor.wbinvd();
    expect(activate()).toBe(STATUS.DFFLUSH_REQUIRED);
    bench.ok('DF_FLUSH');
    expect(activate()).toBe(STATUS.SUCCESS);
  });

  test('one whose guest never ran is free at once', () => {
    const bench = started();
    const handle = bench.guest('LUPDATE', { asid: 5 });
    bench.ok('DEACTIVATE', { handle });
    const next = bench.ok('LAUNCH_START').handle!;
    expect(bench.run('ACTIVATE', { handle: next, asid: 5 }).status).toBe(STATUS.SUCCESS);
  });

  test('a guest goes once its ASID is gone, and the last one takes WORKING with it', () => {
    const bench = started();
    const handle = bench.guest('RUNNING');
    expect(bench.run('DECOMMISSION', { handle }).status).toBe(STATUS.ACTIVE);
    bench.ok('DEACTIVATE', { handle });
    expect(bench.run('DEACTIVATE', { handle }).status).toBe(STATUS.INACTIVE);
    bench.ok('DECOMMISSION', { handle });
    expect(bench.processor.state).toBe('INIT');
    expect(bench.run('DECOMMISSION', { handle }).status).toBe(STATUS.INVALID_PLATFORM_STATE);
  });

  test('memory of a guest that was deactivated stays as ciphertext', () => {
    const bench = started();
    bench.put(AT.guest, new Uint8Array(64).fill(0x55));
    const handle = bench.guest('LUPDATE', { asid: 5 });
    bench.ok('LAUNCH_UPDATE_DATA', { handle, paddr: AT.guest, length: 64 });
    const seen = toHex(bench.get(AT.guest, 64));
    bench.ok('DEACTIVATE', { handle });
    expect(toHex(bench.get(AT.guest, 64))).toBe(seen);
    expect(seen).not.toContain('5555');
    bench.ok('ACTIVATE', { handle, asid: 6 });
    expect(bench.get(AT.guest, 64, 6)).toEqual(new Uint8Array(64).fill(0x55));
  });

  test('each core complex becomes clean when all of its cores have written back', () => {
    const bench = new FirmwareBench({ cores: { cores: 4, coresPerComplex: 2 } });
    bench.ok('INIT');
    for (const core of [0, 1, 2]) bench.processor.wbinvd(core);
    expect(bench.run('DF_FLUSH').status).toBe(STATUS.WBINVD_REQUIRED);
    bench.processor.wbinvd(3);
    bench.ok('DF_FLUSH');
    const handle = bench.ok('LAUNCH_START').handle!;
    const ids = (...cores: number[]) => {
      bench.put(AT.ids, new Uint8Array(Uint32Array.from(cores).buffer));
      return { handle, ex_len: 24, asid: 4, numids: cores.length, ids_paddr: AT.ids };
    };
    expect(bench.run('ACTIVATE_EX', ids(4)).status).toBe(STATUS.INVALID_PARAM);
    expect(bench.run('ACTIVATE_EX', ids()).status).toBe(STATUS.INVALID_PARAM);
    bench.ok('ACTIVATE_EX', ids(0));
    bench.ok('ACTIVATE_EX', ids(2, 3));
    expect(bench.run('ACTIVATE_EX', { ...ids(0), asid: 5 }).status).toBe(STATUS.ACTIVE);
    bench.ok('LAUNCH_MEASURE', { handle, measure_paddr: AT.measure, measure_len: 48 });
    bench.ok('LAUNCH_FINISH', { handle });
    bench.ok('DEACTIVATE', { handle });
    expect(bench.run('DF_FLUSH').status).toBe(STATUS.WBINVD_REQUIRED);
  });

  test('only guests that run may be entered', () => {
    const bench = started();
    const handle = bench.guest('LSECRET', { asid: 5 });
    expect(bench.processor.mayRun(5)).toBe(false);
    bench.ok('LAUNCH_FINISH', { handle });
    expect(bench.processor.mayRun(5)).toBe(true);
    expect(bench.processor.mayRun(0)).toBe(false);
    expect(bench.processor.mayRun(6)).toBe(false);
    bench.ok('DEACTIVATE', { handle });
    expect(bench.processor.mayRun(5)).toBe(false);
  });
});

describe('PSP-10 ranges of ASIDs', () => {
  // The bench has 1 to 3 for SEV-ES, 4 to 8 for the others.
  test.each([
    ['SEV', 0, STATUS.INVALID_ASID],
    ['SEV', 3, STATUS.INVALID_ASID],
    ['SEV', 4, STATUS.SUCCESS],
    ['SEV', 8, STATUS.SUCCESS],
    ['SEV', 9, STATUS.INVALID_ASID],
    ['SEV', 0xffff_ffff, STATUS.INVALID_ASID],
    ['SEV-ES', 0, STATUS.INVALID_ASID],
    ['SEV-ES', 1, STATUS.SUCCESS],
    ['SEV-ES', 3, STATUS.SUCCESS],
    ['SEV-ES', 4, STATUS.INVALID_ASID],
  ])('%s with %i: status %i', (mode, asid, status) => {
    const bench = new FirmwareBench().start({ es: true });
    const policy = mode === 'SEV-ES' ? POLICY.ES : 0;
    const handle = bench.ok('LAUNCH_START', { policy }).handle!;
    expect(bench.run('ACTIVATE', { handle, asid }).status).toBe(status);
  });

  test('guests without an ASID left are refused one, and nothing else happens', () => {
    const bench = new FirmwareBench().start();
    for (let asid = 4; asid <= 8; asid++) bench.guest('RUNNING', { asid });
    const handle = bench.ok('LAUNCH_START').handle!;
    for (let asid = 4; asid <= 8; asid++) {
      expect(bench.run('ACTIVATE', { handle, asid }).status).toBe(STATUS.ASID_OWNED);
    }
    expect(bench.ok('PLATFORM_STATUS').guest_count).toBe(6);
  });

  test('more guests than handles is RESOURCE_LIMIT', () => {
    const bench = new FirmwareBench({ guestsMax: 3 }).start();
    const handles = [1, 2, 3].map(() => bench.ok('LAUNCH_START').handle);
    expect(handles).toEqual([1, 2, 3]);
    expect(bench.run('LAUNCH_START').status).toBe(STATUS.RESOURCE_LIMIT);
    bench.ok('DECOMMISSION', { handle: 2 });
    expect(bench.ok('LAUNCH_START').handle).toBe(2);
  });
});

test('a processor with more core complexes than a set holds is refused', () => {
  const make = (cores: number) =>
    new AsidTable({ max: 9, minNoEs: 4 }, { cores, coresPerComplex: 1 });
  const table = make(31);
  table.reset();
  table.wbinvd();
  expect([table.flush(), table.mayGive(4)]).toEqual([STATUS.SUCCESS, STATUS.SUCCESS]);
  for (const cores of [0, 32]) expect(() => make(cores)).toThrow('core complexes');
});
