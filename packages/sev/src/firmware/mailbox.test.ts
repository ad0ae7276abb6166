/**
 * PSP-01: the registers, at both sets of offsets.
 */
import { describe, expect, test } from 'vitest';
import { BUFFERS, COMMAND } from '../abi/commands.js';
import { STATUS } from '../abi/status.js';
import { decode } from '../abi/struct.js';
import { AT, FirmwareBench } from '../testing/firmware-bench.js';
import { MAILBOX_OFFSETS, Mailbox } from './mailbox.js';

/** As the manuals of drivers have them: CMDRESP, ADDRLO, ADDRHI, INTEN, INTSTS, CAP. */
const OFFSETS = {
  v1: [0x10580, 0x105e0, 0x105e4, 0x10610, 0x10614, 0x105fc],
  v2: [0x10980, 0x109e0, 0x109e4, 0x10690, 0x10694, 0x109fc],
} as const;

describe.each(['v1', 'v2'] as const)('PSP-01 the mailbox with offsets of %s', (version) => {
  const [cmdresp, addrlo, addrhi, inten, intsts, cap] = OFFSETS[version];

  function setUp() {
    const bench = new FirmwareBench();
    const levels: boolean[] = [];
    const ports = { interrupt: (raised: boolean) => void levels.push(raised) };
    const mailbox = new Mailbox(bench.processor, version, ports);
    const issue = (id: number, flags = 0) => {
      mailbox.write32(addrlo, AT.buffer);
      mailbox.write32(addrhi, 0);
      mailbox.write32(cmdresp, (id << 16) | flags);
      return mailbox.read32(cmdresp);
    };
    return { bench, mailbox, issue, levels };
  }

  test('lies where drivers look for it', () => {
    expect(Object.values(MAILBOX_OFFSETS[version]).sort()).toEqual([...OFFSETS[version]].sort());
    expect(setUp().mailbox.read32(cap) & 1).toBe(1);
  });

  test('answers with the response bit and the status in the low 16 bits', () => {
    const { bench, issue } = setUp();
    expect(issue(COMMAND.PLATFORM_STATUS) >>> 0).toBe(0x8004_0000);
    const type = BUFFERS.PLATFORM_STATUS;
    const status = decode(type, bench.get(AT.buffer, type.size));
    expect(status).toMatchObject({ api_major: 1, api_minor: 55, state: 0, guest_count: 0 });
    const refused = issue(COMMAND.PEK_GEN) >>> 0;
    expect(refused & 0xffff).toBe(STATUS.INVALID_PLATFORM_STATE);
    expect(refused >>> 31).toBe(1);
    expect(issue(0x3f0) & 0xffff).toBe(STATUS.INVALID_COMMAND);
  });

  test('sets bit 1 of the interrupt status when asked, and raises the line when enabled', () => {
    const { mailbox, issue, levels } = setUp();
    issue(COMMAND.NOP);
    expect(mailbox.read32(intsts)).toBe(0);
    issue(COMMAND.NOP, 1);
    expect(mailbox.read32(intsts)).toBe(2);
    expect(levels).not.toContain(true);
    mailbox.write32(inten, 2);
    expect(levels.at(-1)).toBe(true);
    mailbox.write32(intsts, 2);
    expect(mailbox.read32(intsts)).toBe(0);
    expect(levels.at(-1)).toBe(false);
  });

  test('takes addresses above 4 GiB, where there is no memory here', () => {
    const { mailbox } = setUp();
    mailbox.write32(addrlo, AT.buffer);
    mailbox.write32(addrhi, 0xffff_ffff);
    mailbox.write32(cmdresp, COMMAND.PLATFORM_STATUS << 16);
    expect(mailbox.read32(cmdresp) & 0xffff).toBe(STATUS.INVALID_ADDRESS);
  });

  test('starts nothing for a word with the response bit, nor at other offsets', () => {
    const { bench, mailbox } = setUp();
    mailbox.write32(cmdresp, (0x8000_0000 | (COMMAND.INIT << 16)) >>> 0);
    mailbox.write32(cmdresp + 4, COMMAND.INIT << 16);
    mailbox.write32(cap, 0);
    expect(bench.processor.state).toBe('UNINIT');
    expect(mailbox.read32(cap)).toBe(1);
    expect(mailbox.read32(cmdresp + 4)).toBe(0);
  });
});
