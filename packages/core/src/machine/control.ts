/**
 * Requests to the machine, kept until it is between two instructions. The first one counts: a guest
 * that asks for power-off and reset in one instruction gets what it asked for first. The host's
 * wish to end the run stays behind a reset, which need not end it.
 */
import type { MachineControl, VmEnd } from '../interfaces/index.js';

export type Request =
  | { readonly kind: 'end'; readonly end: Omit<VmEnd, 'instructions'> }
  | { readonly kind: 'reset'; readonly reason: string; readonly byHost: boolean };

export class ControlRequests implements MachineControl {
  private request: Request | null = null;
  private stop: Request | null = null;

  /** `wake` makes the machine look soon. */
  constructor(private readonly wake: () => void) {}

  powerOff(reason: string, status?: number): void {
    this.ask({
      kind: 'end',
      end: {
        reason: status === undefined ? 'power-off' : 'debug-exit',
        status: status ?? 0,
        message: reason,
      },
    });
  }

  reset(reason: string): void {
    this.ask({ kind: 'reset', reason, byHost: false });
  }

  ask(request: Request): void {
    this.request ??= request;
    this.wake();
  }

  /** The host wants the run to end, after what was asked for before. */
  askStop(end: Omit<VmEnd, 'instructions'>): void {
    this.stop ??= { kind: 'end', end };
    this.wake();
  }

  take(): Request | null {
    const request = this.request ?? this.stop;
    if (this.request === null) this.stop = null;
    this.request = null;
    return request;
  }
}
