/**
 * PSP-02, PSP-03: every command in every state of the platform and of a guest, as a table of the
 * statuses that it must have. Arguments are right for the state that the command is for.
 */
import { beforeAll, describe, expect, test } from 'vitest';
import { COMMAND, type CommandName, SIZE } from '../abi/commands.js';
import { POLICY } from '../abi/policy.js';
import { STATUS } from '../abi/status.js';
import { AT, FirmwareBench } from '../testing/firmware-bench.js';
import { seal } from './channel.js';
import { seededEntropy } from './entropy.js';
import { firmwareImage } from './firmware-image.js';
import type { LiveGuestState } from './states.js';

/** `.` is SUCCESS, `P` INVALID_PLATFORM_STATE, `S` INVALID_GUEST_STATE, `G` INVALID_GUEST. */
const LETTERS: Readonly<Record<string, number>> = {
  '.': STATUS.SUCCESS,
  P: STATUS.INVALID_PLATFORM_STATE,
  S: STATUS.INVALID_GUEST_STATE,
  G: STATUS.INVALID_GUEST,
};

/** Rows of `NAME x y z`, one letter for each column. */
function rows(table: string): [CommandName, string[]][] {
  const lines = table.trim().split('\n');
  return lines.map((line) => {
    const [name, ...letters] = line.trim().split(/\s+/);
    return [name as CommandName, letters];
  });
}

// Columns: UNINIT, INIT, WORKING (with a guest in the state that the command is for).
const PLATFORM = rows(`
  INIT                 .  P  P
  SHUTDOWN             .  .  .
  PLATFORM_RESET       .  P  P
  PLATFORM_STATUS      .  .  .
  PEK_GEN              P  .  P
  PEK_CSR              P  .  .
  PEK_CERT_IMPORT      P  .  P
  PDH_CERT_EXPORT      P  .  .
  PDH_GEN              P  .  .
  DF_FLUSH             P  .  .
  DOWNLOAD_FIRMWARE    .  P  P
  GET_ID               .  .  .
  INIT_EX              .  P  P
  NOP                  .  .  .
  DECOMMISSION         P  P  .
  ACTIVATE             P  P  .
  DEACTIVATE           P  P  .
  GUEST_STATUS         P  .  .
  COPY                 P  P  .
  ACTIVATE_EX          P  P  .
  LAUNCH_START         P  .  .
  LAUNCH_UPDATE_DATA   P  P  .
  LAUNCH_UPDATE_VMSA   P  P  .
  LAUNCH_MEASURE       P  P  .
  LAUNCH_SECRET        P  P  .
  LAUNCH_FINISH        P  P  .
  ATTESTATION          P  P  .
  SEND_START           P  P  .
  SEND_UPDATE_DATA     P  P  .
  SEND_UPDATE_VMSA     P  P  .
  SEND_FINISH          P  P  .
  SEND_CANCEL          P  P  .
  RECEIVE_START        P  .  .
  RECEIVE_UPDATE_DATA  P  P  .
  RECEIVE_UPDATE_VMSA  P  P  .
  RECEIVE_FINISH       P  P  .
  DBG_DECRYPT          P  P  .
  DBG_ENCRYPT          P  P  .
`);

const STATES = ['LUPDATE', 'LSECRET', 'RUNNING', 'SUPDATE', 'RUPDATE', 'SENT'] as const;

// Columns: no such guest, then LUPDATE, LSECRET, RUNNING, SUPDATE, RUPDATE, SENT.
const GUEST = rows(`
  DECOMMISSION         G  .  .  .  .  .  .
  ACTIVATE             G  .  .  .  .  .  S
  DEACTIVATE           G  .  .  .  .  .  .
  GUEST_STATUS         .  .  .  .  .  .  .
  COPY                 G  .  .  .  .  .  .
  ACTIVATE_EX          G  .  .  .  .  .  S
  LAUNCH_UPDATE_DATA   G  .  S  S  S  S  S
  LAUNCH_UPDATE_VMSA   G  .  S  S  S  S  S
  LAUNCH_MEASURE       G  .  S  S  S  S  S
  LAUNCH_SECRET        G  S  .  S  S  S  S
  LAUNCH_FINISH        G  S  .  S  S  S  S
  ATTESTATION          G  S  .  .  .  S  .
  SEND_START           G  S  S  .  S  S  S
  SEND_UPDATE_DATA     G  S  S  S  .  S  S
  SEND_UPDATE_VMSA     G  S  S  S  .  S  S
  SEND_FINISH          G  S  S  S  .  S  S
  SEND_CANCEL          G  S  S  S  .  S  S
  RECEIVE_UPDATE_DATA  G  S  S  S  S  .  S
  RECEIVE_UPDATE_VMSA  G  S  S  S  S  .  S
  RECEIVE_FINISH       G  S  S  S  S  .  S
  DBG_DECRYPT          G  .  .  .  .  .  .
  DBG_ENCRYPT          G  .  .  .  .  .  .
`);

/** Where a command that succeeds leaves its guest; the others leave it where it is. */
const LEADS_TO: Partial<Record<CommandName, string>> = {
  DECOMMISSION: 'UNINIT',
  LAUNCH_MEASURE: 'LSECRET',
  LAUNCH_FINISH: 'RUNNING',
  SEND_START: 'SUPDATE',
  SEND_FINISH: 'SENT',
  SEND_CANCEL: 'RUNNING',
  RECEIVE_FINISH: 'RUNNING',
};

const PAGE = 4096;
const zeroKeys = { tek: new Uint8Array(16), tik: new Uint8Array(16) };
const start = { pdh_cert_paddr: AT.certificate, pdh_cert_len: SIZE.CERTIFICATE };
const session = { session_paddr: AT.session, session_len: SIZE.SESSION };
const packet = { hdr_paddr: AT.header, hdr_len: SIZE.PACKET_HEADER, guest_paddr: AT.guest };
const transport = { ...packet, guest_len: 64, trans_paddr: AT.transport, trans_len: 64 };
const vmsa = { ...transport, guest_paddr: AT.vmsa, guest_len: SIZE.VMSA, trans_len: SIZE.VMSA };
const move = { src_paddr: AT.guest, dst_paddr: AT.guest + PAGE, length: PAGE };
const chain = { plat_certs_paddr: AT.chain, plat_certs_len: SIZE.CERTIFICATE_CHAIN };

/** Right arguments of each command, without the handle. */
const ARGUMENTS: Partial<Record<CommandName, Record<string, number | Uint8Array>>> = {
  PEK_CSR: { paddr: AT.measure, length: SIZE.CERTIFICATE },
  PEK_CERT_IMPORT: {
    pek_cert_paddr: AT.certificate,
    pek_cert_len: SIZE.CERTIFICATE,
    oca_cert_paddr: AT.chain,
    oca_cert_len: SIZE.CERTIFICATE,
  },
  PDH_CERT_EXPORT: {
    pdh_cert_paddr: AT.certificate,
    pdh_cert_len: SIZE.CERTIFICATE,
    certs_paddr: AT.chain,
    certs_len: SIZE.CERTIFICATE_CHAIN,
  },
  DOWNLOAD_FIRMWARE: { paddr: AT.image, length: 256 },
  GET_ID: { paddr: AT.report, length: SIZE.CHIP_ID },
  INIT_EX: { ex_len: SIZE.INIT_EX, nv_paddr: AT.nv, nv_length: SIZE.NV },
  ACTIVATE: { asid: 1 },
  ACTIVATE_EX: { ex_len: 24, asid: 1, numids: 1, ids_paddr: AT.ids },
  COPY: move,
  LAUNCH_UPDATE_DATA: { paddr: AT.guest, length: PAGE },
  LAUNCH_UPDATE_VMSA: { paddr: AT.vmsa, length: PAGE },
  LAUNCH_MEASURE: { measure_paddr: AT.measure, measure_len: SIZE.MEASURE },
  LAUNCH_SECRET: transport,
  ATTESTATION: { paddr: AT.report, length: SIZE.ATTESTATION_REPORT },
  SEND_START: { ...start, ...chain, ...session },
  SEND_UPDATE_DATA: transport,
  SEND_UPDATE_VMSA: vmsa,
  RECEIVE_START: { ...start, ...session },
  RECEIVE_UPDATE_DATA: transport,
  RECEIVE_UPDATE_VMSA: vmsa,
  DBG_DECRYPT: move,
  DBG_ENCRYPT: move,
};

/** The guest's ASID must be free for these. */
const RESTING: readonly CommandName[] = ['DECOMMISSION', 'ACTIVATE', 'ACTIVATE_EX'];

/** A platform with an SEV-ES guest in this state, and what the command points to. */
function stage(state: LiveGuestState, command: CommandName) {
  const bench = new FirmwareBench().start({ es: true });
  const policy = POLICY.ES;
  const handle = bench.guest(state, { policy, active: !RESTING.includes(command) });
  bench.exportCertificates();
  if (state === 'LSECRET') bench.put(AT.header, secretHeader(bench));
  if (state === 'RUPDATE') putPacket(bench, command);
  return { bench, handle };
}

/** A secret of 64 zeros under the keys of a launch without a session. */
function secretHeader(bench: FirmwareBench): Uint8Array {
  const measurement = bench.get(AT.measure, 32);
  const { createHmac } = process.getBuiltinModule('node:crypto');
  const head = Buffer.alloc(20);
  const lengths = Buffer.from([64, 0, 0, 0, 64, 0, 0, 0]);
  const text = Buffer.concat([Buffer.of(1), head, lengths, Buffer.alloc(64), measurement]);
  const mac = createHmac('sha256', zeroKeys.tik).update(text).digest();
  bench.put(AT.transport, new Uint8Array(64));
  return Buffer.concat([head, mac]);
}

/** For a guest that is being received: data and a VMSA, as its sender made them. */
const received = new Map<CommandName, { header: Uint8Array; ciphertext: Uint8Array }>();

function putPacket(bench: FirmwareBench, command: CommandName): void {
  const { header, ciphertext } = received.get(command) ?? received.get('RECEIVE_UPDATE_DATA')!;
  bench.put(AT.header, header);
  bench.put(AT.transport, ciphertext);
}

beforeAll(() => {
  // Benches repeat themselves: what one sends, the next one receives.
  const moves = [
    ['SEND_UPDATE_DATA', 'RECEIVE_UPDATE_DATA'],
    ['SEND_UPDATE_VMSA', 'RECEIVE_UPDATE_VMSA'],
  ] as const;
  for (const [send, receive] of moves) {
    const bench = new FirmwareBench().start({ es: true });
    const handle = bench.guest('SUPDATE', { policy: POLICY.ES });
    const fields = ARGUMENTS[send]!;
    bench.ok(send, { handle, ...fields });
    const header = bench.get(AT.header, SIZE.PACKET_HEADER);
    received.set(receive, {
      header,
      ciphertext: bench.get(AT.transport, fields['guest_len'] as number),
    });
  }
});

describe('PSP-02 the platform in each state', () => {
  test('has a row for every command', () => {
    expect(PLATFORM.map(([name]) => name).sort()).toEqual(Object.keys(COMMAND).sort());
  });

  /** The state that a guest command is for. */
  const homeOf = (name: CommandName): LiveGuestState => {
    const row = GUEST.find(([command]) => command === name)?.[1];
    return row === undefined ? 'LUPDATE' : STATES[row.slice(1).indexOf('.')]!;
  };

  const cases = PLATFORM.flatMap(([name, letters]) =>
    (['UNINIT', 'INIT', 'WORKING'] as const).map(
      (state, at) => [name, state, letters[at]!] as const,
    ),
  );

  test.each(cases)('%s in %s: %s', (name, state, letter) => {
    const { bench, handle } = platformIn(state, name);
    const policy = name === 'RECEIVE_START' && state === 'WORKING' ? POLICY.ES : 0;
    const { status } = bench.run(name, { handle, policy, ...ARGUMENTS[name] });
    expect(status).toBe(LETTERS[letter]);
  });

  function platformIn(state: 'UNINIT' | 'INIT' | 'WORKING', name: CommandName) {
    if (state === 'WORKING' && name === 'LAUNCH_START') {
      return { ...stage('LUPDATE', name), handle: 0 };
    }
    if (state === 'WORKING' && name === 'RECEIVE_START') {
      return { ...stage('SUPDATE', name), handle: 0 };
    }
    if (state === 'WORKING') return stage(homeOf(name), name);
    const bench = new FirmwareBench();
    bench.put(AT.image, firmwareImage({ major: 1, minor: 56, build: 2 }));
    bench.put(AT.nv, new Uint8Array(SIZE.NV).fill(0xff));
    if (state === 'UNINIT') return { bench, handle: 1 };
    prepareInit(bench, name);
    return { bench, handle: name === 'LAUNCH_START' || name === 'RECEIVE_START' ? 0 : 1 };
  }

  function prepareInit(bench: FirmwareBench, name: CommandName): void {
    bench.start({ es: true });
    if (name === 'RECEIVE_START') {
      const handle = bench.guest('SUPDATE');
      bench.ok('DEACTIVATE', { handle });
      bench.ok('DECOMMISSION', { handle });
    }
    if (name !== 'PEK_CERT_IMPORT') return;
    // What is imported here: the platform's own certificate, signed again by its own authority.
    bench.exportCertificates();
    const chain = bench.get(AT.chain, SIZE.CERTIFICATE_CHAIN);
    const pek = chain.slice(0, SIZE.CERTIFICATE);
    // Without the chip's signature, as an owner returns it.
    pek.fill(0, 0x61c);
    pek.set([0, 0x10], 0x61c);
    bench.put(AT.certificate, pek);
    bench.put(AT.chain, chain.subarray(SIZE.CERTIFICATE, 2 * SIZE.CERTIFICATE));
  }
});

describe('PSP-03 a guest in each state', () => {
  const cases = GUEST.flatMap(([name, letters]) =>
    (['none', ...STATES] as const).map((state, at) => [name, state, letters[at]!] as const),
  );

  test('has a row for every command with a handle', () => {
    const without = ['LAUNCH_START', 'RECEIVE_START'];
    const first = COMMAND.DECOMMISSION;
    const names = Object.entries(COMMAND).filter(([name, id]) => {
      return id >= first && !without.includes(name);
    });
    expect(GUEST.map(([name]) => name).sort()).toEqual(names.map(([name]) => name).sort());
  });

  test.each(cases)('%s in %s: %s', (name, state, letter) => {
    const { bench, handle } = stage(state === 'none' ? 'LUPDATE' : state, name);
    const target = state === 'none' ? handle + 1 : handle;
    const { status } = bench.run(name, { ...ARGUMENTS[name], handle: target });
    expect(status).toBe(LETTERS[letter]);
    const after = status === STATUS.SUCCESS ? (LEADS_TO[name] ?? state) : state;
    expect(bench.processor.guestState(target)).toBe(after === 'none' ? 'UNINIT' : after);
  });
});

test('seal makes what RECEIVE_UPDATE_DATA takes, never the same twice', () => {
  const entropy = seededEntropy('packets');
  const plaintext = new Uint8Array(32);
  const [one, two] = [seal(zeroKeys, plaintext, entropy), seal(zeroKeys, plaintext, entropy)];
  expect(one.ciphertext).not.toEqual(two.ciphertext);
});
