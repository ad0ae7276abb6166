/**
 * The APIC's caches and its paravirtual end of interrupt, against a model that has neither.
 */
import type { Clock } from '@cloister/core';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { RECORD_SIZE } from '../cpu/layout.js';
import { PvEoi } from '../paravirt/pv-eoi.js';
import { TimeStamp } from '../timing/time-stamp.js';
import { LocalApic } from './local-apic.js';
import * as R from './registers.js';

function apicWith(time: { now: number }, memory: Uint8Array | null) {
  const clock: Clock = {
    mode: 'icount',
    now: () => time.now,
    at: () => ({ cancel: () => {} }),
    epochSeconds: 0,
  };
  const ended: number[] = [];
  let woken = false;
  const quiet = () => {};
  const cpu = {
    wake: () => {
      woken = true;
    },
    nmi: quiet,
    init: quiet,
    startup: quiet,
    taskPriority: quiet,
    baseChanged: quiet,
  };
  const sender = { command: quiet, endOfInterrupt: (vector: number) => ended.push(vector) };
  const tsc = new TimeStamp(clock, new DataView(new ArrayBuffer(RECORD_SIZE)));
  const options = { id: 0, boot: true, x2apic: true, tscDeadline: true, physicalBits: 46 };
  const apic = new LocalApic(options, cpu, sender, clock, tsc);
  if (memory !== null) {
    const shortcut = new PvEoi({
      read: (gpa, target) => {
        target.set(memory.subarray(gpa, gpa + target.length));
        return true;
      },
      write: (gpa, source) => {
        memory.set(source, gpa);
        return true;
      },
    });
    shortcut.write(1, 0);
    apic.connectShortcut(shortcut);
  }
  apic.mmioWrite(R.SVR, 4, 0x1ff);
  const takeWake = () => {
    const was = woken;
    woken = false;
    return was;
  };
  return { apic, ended, takeWake };
}

/** Straight from the manual's words: sets, searched each time. */
class Model {
  readonly requested = new Set<number>();
  readonly serving = new Set<number>();
  readonly level = new Set<number>();
  readonly ended: number[] = [];
  tpr = 0;

  private static highest(set: Set<number>): number {
    return Math.max(-1, ...set);
  }

  get priority(): number {
    const serving = Math.max(0, Model.highest(this.serving)) & 0xf0;
    return serving > (this.tpr & 0xf0) ? serving : this.tpr;
  }

  get candidate(): number {
    const vector = Model.highest(this.requested);
    return (vector & 0xf0) > (this.priority & 0xf0) ? vector : -1;
  }

  request(vector: number, level: boolean): void {
    if (vector < 16) return;
    if (level) this.level.add(vector);
    else this.level.delete(vector);
    this.requested.add(vector);
  }

  take(): number {
    const vector = this.candidate;
    this.requested.delete(vector);
    this.serving.add(vector);
    return vector;
  }

  end(): void {
    const vector = Model.highest(this.serving);
    if (!this.serving.delete(vector)) return;
    if (this.level.has(vector)) this.ended.push(vector);
  }
}

const step = fc.oneof(
  fc.record({ kind: fc.constant('request'), value: fc.nat(255) }),
  fc.record({ kind: fc.constant('level'), value: fc.nat(255) }),
  fc.record({ kind: fc.constant('take'), value: fc.nat(255) }),
  fc.record({ kind: fc.constant('end'), value: fc.nat(255) }),
  fc.record({ kind: fc.constant('tpr'), value: fc.nat(255) }),
);

describe('interrupt priority', () => {
  it.each([false, true])('agrees with the model, paravirtual EOI %s', (paravirtual) => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
        const memory = paravirtual ? new Uint8Array(8) : null;
        const { apic, ended, takeWake } = apicWith({ now: 0 }, memory);
        const model = new Model();
        for (const { kind, value } of steps) {
          const before = model.candidate;
          takeWake();
          if (kind === 'request' || kind === 'level') {
            const level = kind === 'level';
            model.request(value, level);
            apic.accept({ mode: 0, vector: value, destination: 0, logical: false, level });
            expect(takeWake()).toBe(before < 0 && model.candidate >= 0);
          } else if (kind === 'take' && model.candidate >= 0) {
            expect(apic.acknowledge()).toBe(model.take());
          } else if (kind === 'end') {
            model.end();
            // As Linux does: clear the bit if it stands, else write the register.
            if (memory !== null && memory[0] === 1) memory[0] = 0;
            else apic.mmioWrite(R.EOI, 4, 0);
          } else if (kind === 'tpr') {
            model.tpr = value;
            apic.mmioWrite(R.TPR, 4, value);
          }
          expect(apic.hasInterrupt()).toBe(model.candidate >= 0);
        }
        expect(apic.mmioRead(R.PPR, 4)).toBe(model.priority);
        expect(ended).toEqual(model.ended);
      }),
      { numRuns: 300 },
    );
  });
});

describe('the current count', () => {
  it('follows time at every rate, across changes of rate', () => {
    const divisors = [2, 4, 8, 16, 32, 64, 128, 1];
    const codes = [0, 1, 2, 3, 8, 9, 10, 11];
    const change = fc.record({ code: fc.nat(7), wait: fc.nat(100_000) });
    fc.assert(
      fc.property(
        // Half of them come to their end.
        fc.oneof(fc.integer({ min: 1, max: 20_000 }), fc.integer({ min: 1, max: 0xffffffff })),
        fc.boolean(),
        fc.array(change, { minLength: 1, maxLength: 6 }),
        (initial, periodic, changes) => {
          const time = { now: 12345 };
          const { apic } = apicWith(time, null);
          apic.mmioWrite(R.LVT_TIMER, 4, R.LVT_MASKED | (periodic ? R.TIMER_PERIODIC : 0));
          apic.mmioWrite(R.TIMER_DIVIDE, 4, codes[changes[0]!.code]!);
          apic.mmioWrite(R.TIMER_INITIAL, 4, initial);
          let counted = 0;
          for (const { code, wait } of changes) {
            apic.mmioWrite(R.TIMER_DIVIDE, 4, codes[code]!);
            time.now += wait;
            counted += Math.floor(wait / divisors[code]!);
            const rest = periodic ? initial - (counted % initial) : Math.max(0, initial - counted);
            expect(apic.mmioRead(R.TIMER_CURRENT, 4)).toBe(rest);
          }
        },
      ),
    );
  });
});
