/**
 * What a guest asks of its hypervisor, told to whoever observes world switches: the event by its
 * name and its operands in words.
 */
import { GHCB_MSR, IOIO, NAE } from '../abi/ghcb.js';
import { EXIT } from '../abi/vmcb.js';
import { type Exchange, hex } from './exchange.js';
import type { GhcbPage } from './ghcb-page.js';
import { eventName, requestName } from './statistics.js';

/** A VMGEXIT with a GHCB. */
export function tellEvent({ vcpu, ghcb, settings }: Exchange, code: number): void {
  const { switches } = settings;
  if (switches === undefined || !switches.observed) return;
  const detail = detailOf(code, ghcb);
  const event = { kind: 'request', vcpu: vcpu.index, code, name: eventName(code) } as const;
  switches.next(detail === '' ? event : { ...event, detail });
}

/** A VMGEXIT with the MSR protocol. */
export function tellRequest({ vcpu, settings }: Exchange, number: number, hi: number): void {
  const { switches } = settings;
  if (switches === undefined || !switches.observed) return;
  const name = `MSR protocol, ${requestName(number)}`;
  const event = { kind: 'request', vcpu: vcpu.index, code: number, name } as const;
  const isCpuid = number === GHCB_MSR.CPUID_REQUEST;
  switches.next(isCpuid ? { ...event, detail: `leaf ${hex(hi)}` } : event);
}

function detailOf(code: number, ghcb: GhcbPage): string {
  const info1 = ghcb.lo('SW_EXITINFO1');
  switch (code) {
    case EXIT.IOIO:
      return ioText(info1);
    case EXIT.MSR:
      return `${(info1 & 1) === 0 ? 'RDMSR' : 'WRMSR'} ${hex(ghcb.lo('RCX'))}`;
    case EXIT.CPUID:
      return `leaf ${hex(ghcb.lo('RAX'))}`;
    case NAE.MMIO_READ:
    case NAE.MMIO_WRITE:
      return `${ghcb.lo('SW_EXITINFO2')} bytes at ${hex(ghcb.number('SW_EXITINFO1'))}`;
    default:
      return '';
  }
}

function ioText(info1: number): string {
  const isIn = (info1 & IOIO.IN) !== 0;
  const isString = (info1 & IOIO.STRING) !== 0;
  const name = isString ? (isIn ? 'INS' : 'OUTS') : isIn ? 'IN' : 'OUT';
  return `${name} port 0x${(info1 >>> 16).toString(16)}`;
}
