/**
 * An exit as one line of JSON: for `--exits FILE.jsonl`. Fields and their order are fixed per kind;
 * nothing of the host is in it (no time, no path), so that equal runs give equal files.
 *
 * Data is hexadecimal, in the order of the bytes; 64-bit values are `0x…` strings.
 */
import type { VmExit, WorldSwitch } from '@cloister/core';

type Field = string | number | boolean | readonly (string | number)[];

export function exitRecord(exit: VmExit): Record<string, Field> {
  const head = { instructions: exit.instructions, vcpu: exit.vcpu, kind: exit.kind };
  return { ...head, ...details(exit) };
}

/** The line, with its newline. */
export function exitLine(exit: VmExit): string {
  return `${JSON.stringify(exitRecord(exit))}\n`;
}

/** A world switch in the same log, with its newline. */
export function switchLine({ instructions, vcpu, kind, ...rest }: WorldSwitch): string {
  const { code, name, vector, detail } = rest;
  const head = { instructions, vcpu, kind: 'switch', step: kind, code, name };
  const more = { ...(vector !== undefined && { vector }), ...(detail !== undefined && { detail }) };
  return `${JSON.stringify({ ...head, ...more })}\n`;
}

/**
 * Whether the exit belongs to the guest. An `interrupted` exit tells when the host looked, which
 * differs from run to run.
 */
export function isGuestExit(exit: VmExit): boolean {
  return exit.kind !== 'interrupted';
}

function details(exit: VmExit): Record<string, Field> {
  switch (exit.kind) {
    case 'io': {
      const { direction, port, size, count } = exit;
      return { direction, port, size, count, data: hex(exit.data) };
    }
    case 'mmio': {
      const { direction, gpa, size } = exit;
      return { direction, gpa, size, data: hex(exit.data) };
    }
    case 'hlt':
      return { interruptible: exit.interruptible };
    case 'cpuid': {
      const { leaf, subleaf, eax, ebx, ecx, edx } = exit;
      return { leaf, subleaf, eax, ebx, ecx, edx };
    }
    case 'msr': {
      const { direction, index, fault } = exit;
      return { direction, index, value: wide(exit.lo, exit.hi), fault };
    }
    case 'hypercall':
      return {
        number: exit.number,
        args: [0, 1, 2, 3].map((i) => wide(exit.args[2 * i] ?? 0, exit.args[2 * i + 1] ?? 0)),
        result: wide(exit.resultLo, exit.resultHi),
      };
    case 'memory-fault':
      return { gpa: exit.gpa, size: exit.size, access: exit.access, private: exit.private };
    case 'shutdown':
      return { reason: exit.reason };
    case 'vmgexit':
      return { ghcb: wide(exit.ghcbLo, exit.ghcbHi) };
    case 'system-event': {
      const { event, data, message } = exit;
      return { event, data: [...data], ...(message === undefined ? {} : { message }) };
    }
    case 'interrupted':
      return {};
    case 'debug': {
      const { vector, dr6, dr7 } = exit;
      return { vector, rip: wide(exit.ripLo, exit.ripHi), dr6, dr7 };
    }
    case 'error':
      return { code: exit.code, message: exit.message, bytes: hex(exit.bytes) };
  }
}

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'));

export function hex(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) text += HEX[byte]!;
  return text;
}

/** A 64-bit value from its halves, without leading zeros. */
function wide(lo: number, hi: number): string {
  const low = (lo >>> 0).toString(16);
  return hi === 0 ? `0x${low}` : `0x${(hi >>> 0).toString(16)}${low.padStart(8, '0')}`;
}
