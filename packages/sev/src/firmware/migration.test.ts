/**
 * PSP-13: a guest goes from one emulated platform to another, command by command.
 */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { SIZE } from '../abi/commands.js';
import { POLICY } from '../abi/policy.js';
import { STATUS } from '../abi/status.js';
import { toHex } from '../bytes.js';
import { otherChip, TEST_CHIP_FILE, testChip } from '../testing/emulated-chip.js';
import { AT, FirmwareBench } from '../testing/firmware-bench.js';
import { seededEntropy } from './entropy.js';
import { memoryStore } from './persistent.js';
import { authorityChain, certifiedCek, decodeChip } from './root.js';

const PAGE = 4096;
const PAGES = 4;
const page = (n: number) => new Uint8Array(PAGE).map((_, at) => (at * (n + 3)) >> 3);

/** A receiving platform, and its certificates as its owner or AMD's server would send them. */
function receiver(chip = otherChip, name = 'receiver') {
  const entropy = seededEntropy(name);
  const bench = new FirmwareBench({ chip, entropy, flash: memoryStore() }).start({ es: true });
  const pdh = bench.exportCertificates();
  const chain = bench.get(AT.chain, SIZE.CERTIFICATE_CHAIN);
  chain.set(certifiedCek(chip, { major: 1, minor: 55 }), 2 * SIZE.CERTIFICATE);
  return { bench, pdh, chain, authorities: authorityChain(chip.root()) };
}

/** A sending platform with a running guest of some pages, and SEND_START for that receiver. */
function sender(policy: number, to: ReturnType<typeof receiver>, made = new FirmwareBench()) {
  const bench = made.start({ es: true });
  const asid = (policy & POLICY.ES) !== 0 ? 1 : 4;
  const handle = bench.ok('LAUNCH_START', { policy }).handle!;
  bench.ok('ACTIVATE', { handle, asid });
  for (let n = 0; n < PAGES; n++) bench.put(AT.guest + n * PAGE, page(n));
  bench.ok('LAUNCH_UPDATE_DATA', { handle, paddr: AT.guest, length: PAGES * PAGE });
  bench.ok('LAUNCH_MEASURE', { handle, measure_paddr: AT.measure, measure_len: SIZE.MEASURE });
  bench.ok('LAUNCH_FINISH', { handle });
  bench.put(AT.certificate, to.pdh);
  bench.put(AT.chain, to.chain);
  bench.put(AT.authorities, to.authorities);
  const authorities = { amd_certs_paddr: AT.authorities, amd_certs_len: to.authorities.length };
  const start = { ...bench.sendStart(handle as number), ...authorities };
  return { bench, handle, start };
}

/** Where packets stand. */
const packet = {
  hdr_paddr: AT.header,
  hdr_len: SIZE.PACKET_HEADER,
  trans_paddr: AT.transport,
  trans_len: PAGE,
  guest_len: PAGE,
};

interface Sent {
  readonly header: Uint8Array;
  readonly ciphertext: Uint8Array;
}

/** A whole stream: session and packets; what the host of the sender hands over. */
function stream(policy: number, to = receiver()) {
  const { bench, handle, start } = sender(policy, to);
  expect(bench.ok('SEND_START', start).policy).toBe(policy);
  const session = bench.get(AT.session, SIZE.SESSION);
  const packets: Sent[] = [];
  for (let n = 0; n < PAGES; n++) {
    const guest_paddr = AT.guest + n * PAGE;
    bench.ok('SEND_UPDATE_DATA', { handle, ...packet, guest_paddr });
    const header = bench.get(AT.header, SIZE.PACKET_HEADER);
    packets.push({ header, ciphertext: bench.get(AT.transport, PAGE) });
  }
  bench.ok('SEND_FINISH', { handle });
  return { policy, session, pdh: bench.exportCertificates(), packets, to };
}

/** RECEIVE_START of such a stream: the handle, or the status. */
function receive({ to, pdh, session, policy }: ReturnType<typeof stream>, change: object = {}) {
  to.bench.put(AT.certificate, pdh);
  to.bench.put(AT.session, session);
  return to.bench.run('RECEIVE_START', { ...to.bench.receiveStart(policy), ...change });
}

describe('PSP-13 migration', () => {
  test.each([
    ['no wishes', 0],
    ['SEV platforms only', POLICY.NODBG | POLICY.SEV],
    ['SEV-ES', POLICY.ES | POLICY.SEV],
  ])('of a guest with %s: its memory arrives under a key of the receiver', (_, policy) => {
    const sent = stream(policy);
    const { bench } = sent.to;
    const handle = receive(sent).values.handle!;
    const asid = (policy & POLICY.ES) !== 0 ? 2 : 5;
    bench.ok('ACTIVATE', { handle, asid });
    for (const [n, { header, ciphertext }] of sent.packets.entries()) {
      bench.put(AT.header, header);
      bench.put(AT.transport, ciphertext);
      const guest_paddr = AT.guest + n * PAGE;
      bench.ok('RECEIVE_UPDATE_DATA', { handle, ...packet, guest_paddr });
      expect(bench.get(guest_paddr, PAGE, asid)).toEqual(page(n));
      expect(toHex(ciphertext)).not.toContain(toHex(page(n).subarray(0, 16)));
    }
    bench.ok('RECEIVE_FINISH', { handle });
    expect(bench.processor.guestState(handle as number)).toBe('RUNNING');
    expect(bench.processor.mayRun(asid)).toBe(true);
  });

  test('SEND_CANCEL lets the guest go on where it is; SEND_FINISH ends it there', () => {
    const { bench, handle, start } = sender(0, receiver());
    bench.ok('SEND_START', start);
    bench.ok('SEND_CANCEL', { handle });
    expect(bench.processor.mayRun(4)).toBe(true);
    bench.ok('SEND_START', start);
    bench.ok('SEND_FINISH', { handle });
    expect(bench.processor.mayRun(4)).toBe(false);
    expect(bench.run('SEND_CANCEL', { handle }).status).toBe(STATUS.INVALID_GUEST_STATE);
  });

  test.each(['SEND_FINISH', 'SEND_CANCEL', 'SHUTDOWN'] as const)(
    '%s wipes the keys of the transport',
    (end) => {
      const own = seededEntropy('sender');
      const made: Uint8Array[] = [];
      const entropy = (length: number) => {
        const bytes = own(length);
        made.push(bytes);
        return bytes;
      };
      const { bench, handle, start } = sender(0, receiver(), new FirmwareBench({ entropy }));
      made.length = 0;
      bench.ok('SEND_START', start);
      const wiped = () => made.slice(0, 2).map((key) => key.every((byte) => byte === 0));
      expect(wiped()).toEqual([false, false]);
      bench.ok(end, end === 'SHUTDOWN' ? {} : { handle });
      expect(wiped()).toEqual([true, true]);
    },
  );

  test('SEND_UPDATE_DATA says what room header and data need, and sends nothing without it', () => {
    const { bench, handle, start } = sender(0, receiver());
    bench.ok('SEND_START', start);
    const update = { handle, ...packet, guest_paddr: AT.guest };
    bench.put(AT.transport, new Uint8Array(PAGE));
    for (const less of [{ hdr_len: 0, trans_len: 0 }, { hdr_len: 51 }, { trans_len: PAGE - 1 }]) {
      const { status, values } = bench.run('SEND_UPDATE_DATA', { ...update, ...less });
      expect(status).toBe(STATUS.INVALID_LEN);
      expect([values.hdr_len, values.trans_len]).toEqual([SIZE.PACKET_HEADER, PAGE]);
    }
    expect(bench.get(AT.transport, PAGE)).toEqual(new Uint8Array(PAGE));
    const room = { hdr_len: 2 * SIZE.PACKET_HEADER, trans_len: 2 * PAGE };
    expect(bench.ok('SEND_UPDATE_DATA', { ...update, ...room }).trans_len).toBe(PAGE);
  });

  test('NOSEND forbids it', () => {
    const { bench, start } = sender(POLICY.NOSEND, receiver());
    expect(bench.run('SEND_START', start).status).toBe(STATUS.POLICY_FAILURE);
  });

  test('DOMAIN keeps a guest with its owner', () => {
    const { bench, start } = sender(POLICY.DOMAIN, receiver());
    expect(bench.run('SEND_START', start).status).toBe(STATUS.POLICY_FAILURE);
    // To a platform with the same owner: this one.
    bench.exportCertificates();
    bench.ok('SEND_START', start);
  });

  test('SEV keeps it on chips of the same maker', () => {
    const policy = POLICY.SEV;
    // Another maker: the keys of ours with their parts exchanged.
    const file = JSON.parse(TEST_CHIP_FILE);
    const other = decodeChip(JSON.stringify({ ...file, ark: file.ask, ask: file.ark }));
    const foreign = receiver(other);
    const { bench, start } = sender(policy, foreign);
    expect(bench.run('SEND_START', start).status).toBe(STATUS.INVALID_CERTIFICATE);
    // A chip that nobody has certified, and one whose certificate was changed.
    const { chain, authorities } = receiver(testChip, 'third');
    bench.put(AT.authorities, authorities);
    bench.put(AT.chain, chain);
    expect(bench.run('SEND_START', start).status).toBe(STATUS.BAD_SIGNATURE);
    const unsigned = bench.get(AT.chain, SIZE.CERTIFICATE_CHAIN);
    unsigned.set([0, 0x10], 2 * SIZE.CERTIFICATE + 0x414);
    bench.put(AT.chain, unsigned);
    expect(bench.run('SEND_START', start).status).toBe(STATUS.INVALID_CERTIFICATE);
    expect(bench.run('SEND_START', { ...start, amd_certs_len: 7 }).status).toBe(STATUS.INVALID_LEN);
  });

  test('a minimum API keeps it off older platforms', () => {
    const policy = POLICY.SEV | (1 << 16) | (55 << 24);
    const old = new FirmwareBench({
      chip: otherChip,
      flash: memoryStore(),
      version: { major: 1, minor: 40, build: 1 },
    }).start();
    const pdh = old.exportCertificates();
    const chain = old.get(AT.chain, SIZE.CERTIFICATE_CHAIN);
    chain.set(certifiedCek(otherChip, { major: 1, minor: 40 }), 2 * SIZE.CERTIFICATE);
    const to = { bench: old, pdh, chain, authorities: authorityChain(otherChip.root()) };
    const { bench, start } = sender(policy >>> 0, to);
    expect(bench.run('SEND_START', start).status).toBe(STATUS.POLICY_FAILURE);
  });
});

describe('PSP-13 a tampered stream is refused', () => {
  const sent = stream(POLICY.NODBG);
  const { bench } = sent.to;

  test('session and policy', () => {
    fc.assert(
      fc.property(fc.nat(SIZE.SESSION * 8 - 1), (bit) => {
        const session = Uint8Array.from(sent.session);
        session[bit >> 3]! ^= 1 << (bit & 7);
        return receive({ ...sent, session }).status === STATUS.BAD_MEASUREMENT;
      }),
      { numRuns: 16 },
    );
    for (const policy of [0, POLICY.NODBG | POLICY.NOKS]) {
      expect(receive(sent, { policy }).status).toBe(STATUS.BAD_MEASUREMENT);
    }
    expect(receive(sent, { session_len: 127 }).status).toBe(STATUS.INVALID_LEN);
    expect(receive({ ...sent, to: receiver(testChip, 'third') }).status).toBe(
      STATUS.BAD_MEASUREMENT,
    );
  });

  test('packets: any bit of header or data, and lengths', () => {
    const handle = receive(sent).values.handle!;
    bench.ok('ACTIVATE', { handle, asid: 5 });
    const update = { handle, ...packet, guest_paddr: AT.guest };
    const { header, ciphertext } = sent.packets[0]!;
    const bits = (SIZE.PACKET_HEADER + PAGE) * 8;
    fc.assert(
      fc.property(fc.oneof(fc.nat(SIZE.PACKET_HEADER * 8 - 1), fc.nat(bits - 1)), (bit) => {
        const both = Uint8Array.from([...header, ...ciphertext]);
        both[bit >> 3]! ^= 1 << (bit & 7);
        bench.put(AT.header, both.subarray(0, SIZE.PACKET_HEADER));
        bench.put(AT.transport, both.subarray(SIZE.PACKET_HEADER));
        return bench.run('RECEIVE_UPDATE_DATA', update).status === STATUS.BAD_MEASUREMENT;
      }),
      { numRuns: 60 },
    );
    bench.put(AT.header, header);
    bench.put(AT.transport, ciphertext);
    const shorter = { ...update, guest_len: 2048, trans_len: 2048 };
    expect(bench.run('RECEIVE_UPDATE_DATA', shorter).status).toBe(STATUS.BAD_MEASUREMENT);
    expect(bench.get(AT.guest, 64)).toEqual(new Uint8Array(64));
    // As it was sent, it is taken; in another place, too: the API does not tie data to addresses.
    bench.ok('RECEIVE_UPDATE_DATA', { ...update, guest_paddr: AT.vmsa });
    bench.ok('RECEIVE_UPDATE_DATA', update);
    expect(bench.get(AT.guest, PAGE, 5)).toEqual(page(0));
  });

  test('packets of another stream', () => {
    const other = stream(POLICY.NODBG, receiver());
    const to = sent.to;
    const handle = receive(sent).values.handle!;
    to.bench.ok('ACTIVATE', { handle, asid: 6 });
    const { header } = sent.packets[0]!;
    to.bench.put(AT.header, header);
    to.bench.put(AT.transport, other.packets[1]!.ciphertext);
    const update = { handle, ...packet, guest_paddr: AT.guest };
    expect(to.bench.run('RECEIVE_UPDATE_DATA', update).status).toBe(STATUS.BAD_MEASUREMENT);
  });
});

describe('PSP-13 the states of vCPUs', () => {
  const POLICY_ES = POLICY.ES | POLICY.NODBG;
  const vmsa = { ...packet, guest_paddr: AT.vmsa };
  const content = new Uint8Array(PAGE).map((_, at) => (at * 7) >> 2);

  /** A guest in SUPDATE with that VMSA, and the platform that is to have it. */
  function sending(made = new FirmwareBench(), to = receiver()) {
    const bench = made.start({ es: true });
    const handle = bench.ok('LAUNCH_START', { policy: POLICY_ES }).handle as number;
    bench.ok('ACTIVATE', { handle, asid: 1 });
    bench.put(AT.vmsa, content);
    bench.ok('LAUNCH_UPDATE_VMSA', { handle, paddr: AT.vmsa, length: PAGE });
    bench.ok('LAUNCH_MEASURE', { handle, measure_paddr: AT.measure, measure_len: SIZE.MEASURE });
    bench.ok('LAUNCH_FINISH', { handle });
    bench.put(AT.certificate, to.pdh);
    bench.ok('SEND_START', bench.sendStart(handle));
    const session = bench.get(AT.session, SIZE.SESSION);
    const send = (change: object = {}) =>
      bench.run('SEND_UPDATE_VMSA', { handle, ...vmsa, ...change }).status;
    return { bench, handle, session, send, to };
  }

  test('go out as the processor left them, and only so', () => {
    const { bench, handle, send } = sending();
    expect(send({ hdr_len: SIZE.PACKET_HEADER - 1 })).toBe(STATUS.INVALID_LEN);
    expect(send({ trans_len: PAGE - 16 })).toBe(STATUS.INVALID_LEN);
    expect(send({ guest_len: 0 })).toBe(STATUS.INVALID_LEN);
    expect(send({ guest_paddr: AT.vmsa + 8 })).toBe(STATUS.INVALID_ADDRESS);
    // A part of one, another page of the guest's, and one that was changed or put back.
    expect(send({ guest_len: 64 })).toBe(STATUS.INVALID_PARAM);
    expect(send({ guest_paddr: AT.guest })).toBe(STATUS.INVALID_PARAM);
    const stored = bench.get(AT.vmsa, PAGE);
    const other = Uint8Array.from(stored);
    other[0x178]! ^= 1;
    bench.put(AT.vmsa, other);
    expect(send()).toBe(STATUS.INVALID_PARAM);
    bench.put(AT.vmsa, stored);
    expect(send()).toBe(STATUS.SUCCESS);
    expect(toHex(bench.get(AT.transport, PAGE))).not.toContain(toHex(content.subarray(0, 16)));
    bench.ok('SEND_FINISH', { handle });
    bench.ok('DEACTIVATE', { handle });
    expect(bench.run('SEND_UPDATE_VMSA', { handle, ...vmsa }).status).toBe(
      STATUS.INVALID_GUEST_STATE,
    );
  });

  test('arrive, are recorded anew, and can be sent on from there', () => {
    const { bench, session, send, to } = sending();
    expect(send()).toBe(STATUS.SUCCESS);
    const [header, data] = [bench.get(AT.header, 52), bench.get(AT.transport, PAGE)];
    const there = to.bench;
    there.put(AT.certificate, bench.exportCertificates());
    there.put(AT.session, session);
    const handle = there.ok('RECEIVE_START', there.receiveStart(POLICY_ES)).handle as number;
    const put = (at: number, bit: number) => {
      const [one, two] = [Uint8Array.from(header), Uint8Array.from(data)];
      (at < 52 ? one : two)[at < 52 ? at : at - 52]! ^= bit;
      there.put(AT.header, one);
      there.put(AT.transport, two);
    };
    const take = (change: object = {}) =>
      there.run('RECEIVE_UPDATE_VMSA', { handle, ...vmsa, ...change }).status;
    put(0, 0);
    expect(take()).toBe(STATUS.INACTIVE);
    there.ok('ACTIVATE', { handle, asid: 2 });
    fc.assert(
      fc.property(fc.nat(52 + PAGE - 1), fc.nat(7), (at, bit) => {
        put(at, 1 << bit);
        return take() === STATUS.BAD_MEASUREMENT;
      }),
      { numRuns: 30 },
    );
    put(0, 0);
    expect(take({ guest_paddr: AT.vmsa + 1 })).toBe(STATUS.INVALID_ADDRESS);
    expect(take({ guest_len: PAGE - 16 })).toBe(STATUS.INVALID_LEN);
    expect(take()).toBe(STATUS.SUCCESS);
    expect(there.get(AT.vmsa, PAGE, 2)).toEqual(content);
    there.ok('RECEIVE_FINISH', { handle });

    there.put(AT.certificate, to.pdh);
    there.ok('SEND_START', there.sendStart(handle));
    expect(there.run('SEND_UPDATE_VMSA', { handle, ...vmsa }).status).toBe(STATUS.SUCCESS);
  });

  test('a packet of data that is no VMSA by its length is none', () => {
    const { bench, handle, session, to } = sending();
    const short = { ...packet, guest_paddr: AT.guest, guest_len: 64, trans_len: 64 };
    bench.ok('SEND_UPDATE_DATA', { handle, ...short });
    const there = to.bench;
    there.put(AT.header, bench.get(AT.header, 52));
    there.put(AT.transport, bench.get(AT.transport, 64));
    there.put(AT.certificate, bench.exportCertificates());
    there.put(AT.session, session);
    const received = there.ok('RECEIVE_START', there.receiveStart(POLICY_ES)).handle as number;
    there.ok('ACTIVATE', { handle: received, asid: 2 });
    const update = { ...short, handle: received, guest_paddr: AT.vmsa };
    expect(there.run('RECEIVE_UPDATE_VMSA', update).status).toBe(STATUS.INVALID_LEN);
  });

  test('that went as data are taken as well, as by firmware: no packet says what it holds', () => {
    const { bench, handle, session, send, to } = sending();
    const old = content.map((byte) => byte ^ 1);
    const other = bench.ok('LAUNCH_START', { policy: POLICY_ES, handle }).handle as number;
    bench.ok('ACTIVATE', { handle: other, asid: 2 });
    bench.put(AT.guest, old);
    bench.ok('LAUNCH_UPDATE_DATA', { handle: other, paddr: AT.guest, length: PAGE });
    expect(send({ guest_paddr: AT.guest })).toBe(STATUS.INVALID_PARAM);
    bench.ok('SEND_UPDATE_DATA', { handle, ...packet, guest_paddr: AT.guest });
    const there = to.bench;
    there.put(AT.header, bench.get(AT.header, 52));
    there.put(AT.transport, bench.get(AT.transport, PAGE));
    there.put(AT.certificate, bench.exportCertificates());
    there.put(AT.session, session);
    const received = there.ok('RECEIVE_START', there.receiveStart(POLICY_ES)).handle as number;
    there.ok('ACTIVATE', { handle: received, asid: 2 });
    there.ok('RECEIVE_UPDATE_VMSA', { handle: received, ...vmsa });
    expect(there.get(AT.vmsa, PAGE, 2)).toEqual(old);
  });

  test('are for SEV-ES guests, whose platform must have SEV-ES', () => {
    const { bench, handle, start } = sender(0, receiver());
    bench.ok('SEND_START', start);
    expect(bench.run('SEND_UPDATE_VMSA', { handle, ...vmsa }).status).toBe(STATUS.UNSUPPORTED);
    const made = sending();
    const plain = new FirmwareBench({ chip: otherChip, flash: made.to.bench.flash }).start();
    plain.put(AT.certificate, made.bench.exportCertificates());
    plain.put(AT.session, made.session);
    expect(plain.run('RECEIVE_START', plain.receiveStart(POLICY_ES)).status).toBe(
      STATUS.UNSUPPORTED,
    );
  });
});
