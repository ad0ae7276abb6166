/**
 * The state of a local APIC as a plain record, and its form in a snapshot.
 *
 * Source: AMD APM vol. 2, 16.3.2 (state after reset and INIT).
 */
import { type SnapshotValue, VmmError } from '@cloister/core';
import * as R from './registers.js';
import { isTimerState, type TimerState } from './timer.js';
import { VectorSet } from './vector-set.js';

export const LVT_COUNT = R.LVT_WRITABLE.length;
/** Indices of LVT entries. */
export const LVT_INDEX = { timer: 0, thermal: 1, perf: 2, lint0: 3, lint1: 4, error: 5 } as const;

/** Scalars of the record; all but the first three are cleared by INIT. */
const SCALARS = {
  baseLo: (R.BASE_DEFAULT | R.BASE_ENABLE) >>> 0,
  baseHi: 0,
  xapicId: 0,
  tpr: 0,
  ldr: 0,
  dfr: 0xffffffff,
  svr: 0xff,
  esr: 0,
  /** Errors since ESR was last written. */
  esrPending: 0,
  icrLo: 0,
  icrHi: 0,
};

const FLAGS = {
  /** An ExtINT message (of an IOAPIC) waits to be acknowledged. */
  externalMessage: false,
  /** The guest has been offered to end its interrupt in memory. */
  offered: false,
  /** Levels of the pins. */
  lint0: false,
  lint1: false,
};

export type ApicState = typeof SCALARS &
  typeof FLAGS & {
    readonly isr: VectorSet;
    readonly irr: VectorSet;
    readonly tmr: VectorSet;
    readonly lvt: Uint32Array;
  };

export function powerOnState(id: number, boot: boolean): ApicState {
  const state: ApicState = {
    ...SCALARS,
    ...FLAGS,
    isr: new VectorSet(),
    irr: new VectorSet(),
    tmr: new VectorSet(),
    lvt: new Uint32Array(LVT_COUNT).fill(R.LVT_MASKED),
  };
  state.xapicId = id & 0xff;
  if (boot) state.baseLo = (state.baseLo | R.BASE_BSC) >>> 0;
  return state;
}

/** INIT: everything but APIC_BASE, the ID in use, and the levels of the pins. */
export function clearState(state: ApicState): void {
  const { baseLo, baseHi, xapicId, lint0, lint1 } = state;
  Object.assign(state, SCALARS, FLAGS, { baseLo, baseHi, xapicId, lint0, lint1 });
  state.isr.clear();
  state.irr.clear();
  state.tmr.clear();
  state.lvt.fill(R.LVT_MASKED);
}

export function saveState(state: ApicState, timer: TimerState): SnapshotValue {
  const words = (set: VectorSet) => Array.from(set.words);
  const { isr, irr, tmr, lvt, ...rest } = state;
  return {
    ...rest,
    isr: words(isr),
    irr: words(irr),
    tmr: words(tmr),
    lvt: Array.from(lvt),
    timer: { ...timer },
  };
}

/** Fills `state` from a snapshot and returns the timer's part; throws before changing anything. */
export function loadState(state: ApicState, value: SnapshotValue): TimerState {
  const saved = value as Readonly<Record<string, unknown>> | null;
  if (typeof saved !== 'object' || saved === null || !isSaved(saved)) {
    throw new VmmError('snapshot-mismatch', 'not the state of a local APIC');
  }
  for (const name of [...Object.keys(SCALARS), ...Object.keys(FLAGS)]) {
    Object.assign(state, { [name]: saved[name] });
  }
  state.isr.words.set(saved['isr'] as number[]);
  state.irr.words.set(saved['irr'] as number[]);
  state.tmr.words.set(saved['tmr'] as number[]);
  state.lvt.set(saved['lvt'] as number[]);
  return saved['timer'] as TimerState;
}

function isSaved(saved: Readonly<Record<string, unknown>>): boolean {
  const word = (item: unknown) => typeof item === 'number' && item >>> 0 === item;
  const words = (name: string, length: number) => {
    const list = saved[name];
    return Array.isArray(list) && list.length === length && list.every(word);
  };
  return (
    Object.keys(SCALARS).every((name) => word(saved[name])) &&
    Object.keys(FLAGS).every((name) => typeof saved[name] === 'boolean') &&
    ['isr', 'irr', 'tmr'].every((name) => words(name, 8)) &&
    words('lvt', LVT_COUNT) &&
    isTimerState(saved['timer'])
  );
}
