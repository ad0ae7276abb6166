/**
 * VMGEXIT with a GHCB: what every event has in common (GHCB specification 56421, 2.6 and 4.1).
 *
 * As Linux/KVM: usage, then the three fields that say what it is about, then what the event needs.
 */
import { GHCB_ERROR, GHCB_SIZE } from '../abi/ghcb.js';
import { DEVICE_EVENTS } from './device-events.js';
import { type Exchange, endWith, type GhcbEvent, hex, refuse } from './exchange.js';
import { GUEST_EVENTS } from './guest-events.js';
import type { Next } from './hypervisor.js';
import { PROCESSOR_EVENTS } from './processor-events.js';
import { tellEvent } from './request-text.js';

/** Every event that some hypervisor here answers, by SW_EXITCODE. */
export const GHCB_EVENTS: ReadonlyMap<number, GhcbEvent> = new Map(
  [...PROCESSOR_EVENTS, ...DEVICE_EVENTS, ...GUEST_EVENTS].sort(([a], [b]) => a - b),
);

const ALWAYS = ['SW_EXITCODE', 'SW_EXITINFO1', 'SW_EXITINFO2'] as const;

/** Answers the exchange that waits in the GHCB at `gpa`. */
export function answerGhcb(exchange: Exchange, gpa: number): Next {
  const { vcpu, record, ghcb, settings } = exchange;
  const { profile } = settings;
  const { memory } = vcpu;
  if (gpa === 0 || !memory.covers(gpa, GHCB_SIZE, 'write') || !ghcb.open(memory, gpa)) {
    return endWith(
      vcpu,
      'ghcb-address',
      `${profile.title} finds no memory for a GHCB at ${hex(gpa)}`,
    );
  }
  if (profile.latchesGhcb) {
    if (record.ghcb !== -1 && record.ghcb !== gpa) {
      const where = `at ${hex(gpa)} after ${hex(record.ghcb)}`;
      const moved = `${profile.title} takes no second GHCB, ${where}`;
      return endWith(vcpu, 'ghcb-address', moved);
    }
    record.ghcb = gpa;
  }
  const next = answerEvent(exchange);
  if (next !== 'terminated') ghcb.close(memory);
  return next;
}

function answerEvent(exchange: Exchange): Next {
  const { ghcb, settings, statistics } = exchange;
  const { profile } = settings;
  if (ghcb.usage !== 0) return refuse(exchange, GHCB_ERROR.INVALID_USAGE);
  if (!ghcb.hasAll(ALWAYS)) return refuse(exchange, GHCB_ERROR.MISSING_INPUT);
  const code = ghcb.number('SW_EXITCODE');
  statistics.events.count(code);
  tellEvent(exchange, code);
  const event = profile.events.has(code) ? GHCB_EVENTS.get(code) : undefined;
  if (event === undefined || event.since > profile.protocol.max) return unknown(exchange, code);
  const complete =
    ghcb.hasAll(event.required) &&
    (event.requiredAlso === undefined || ghcb.hasAll(event.requiredAlso(exchange)));
  return complete ? event.answer(exchange) : refuse(exchange, GHCB_ERROR.MISSING_INPUT);
}

function unknown(exchange: Exchange, code: number): Next {
  const { profile } = exchange.settings;
  if (profile.malformed === 'reply') return refuse(exchange, GHCB_ERROR.INVALID_EVENT);
  const what = `GHCB event ${hex(code)} (${profile.malformed})`;
  const message = `${profile.title} has no answer to ${what}`;
  return endWith(exchange.vcpu, 'ghcb-event', message);
}
