/**
 * What a run of the first vCPU is ended or interrupted for from outside of the guest: the event
 * loop has something to do, or a doorbell was rung. Only in a VM that asks for it, because it kept
 * the event loop waiting or has doorbells.
 */
import type { Doorbell, DoorbellPlace, Doorbells } from '@cloister/core';
import { type EventFd, type EventFds, takeEventFd } from './event-fds.js';
import type { EventWatch } from './event-watch.js';
import type { Sys } from './sys/sys.js';

/** Runs that lasted until their deadline before the VM asks. */
export const BUSY_RUNS = 10;

interface Bell {
  readonly event: EventFd;
  readonly rung: () => void;
}

export class RunWatch implements Doorbells {
  private events: EventWatch | null = null;
  private readonly bells = new Set<Bell>();
  private busyRuns = 0;
  private asks = false;

  constructor(
    private readonly sys: Sys,
    private readonly eventFds: EventFds,
  ) {}

  /** From now on the event loop is looked after. */
  connect(events: EventWatch): void {
    this.events = events;
    for (const { event } of this.bells) events.add(event.fd);
    if (this.asks) events.start();
  }

  watch(place: DoorbellPlace, rung: () => void): Doorbell {
    const event = this.eventFds.doorbell(place);
    this.events?.add(event.fd);
    this.ask();
    const bell = { event, rung };
    this.bells.add(bell);
    return {
      close: () => {
        if (!this.bells.delete(bell)) return;
        this.events?.remove(event.fd);
        event.close();
      },
    };
  }

  begin(): void {
    const { events } = this;
    events?.begin(this.asks);
    // Nobody else waits for doorbells: every run looks.
    if (events === null || events.failed) this.tell();
  }

  /** `busy`: the run lasted until its deadline. */
  finish(busy: boolean): void {
    this.events?.finish();
    if (busy && !this.asks && ++this.busyRuns >= BUSY_RUNS) this.ask();
  }

  /** Tells of doorbells that were rung; true when the event loop is to have a turn. */
  calls(): boolean {
    if (!this.asks || this.events?.take() !== true) return false;
    if (!this.tell()) return true;
    // Should the loop have something as well, that is found at once.
    this.events?.arm();
    return false;
  }

  private ask(): void {
    this.asks = true;
    this.events?.start();
  }

  /** Tells of doorbells that were rung; whether any was. */
  tell(): boolean {
    let any = false;
    for (const { event, rung } of this.bells) {
      if (takeEventFd(this.sys, event.fd) === 0) continue;
      any = true;
      rung();
    }
    return any;
  }

  /** `now`: as this thread ends. */
  dispose(now = false): void {
    const { events } = this;
    this.events = null;
    for (const { event } of this.bells) events?.remove(event.fd);
    this.bells.clear();
    events?.release(now);
  }
}
