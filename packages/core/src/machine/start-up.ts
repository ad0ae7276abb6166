/**
 * What happens once before the first instruction, whether the guest boots or is restored: the
 * plugins' start hooks, the interrupt lines' connection, the choice of the clock, the input's mode.
 */
import type { Assembly } from '../assembly/assembly.js';
import type { InputRecord } from '../interfaces/index.js';
import { INTERRUPT_ROUTER, VmmError } from '../interfaces/index.js';
import type { Machine } from './machine.js';

/** Runs the start hooks in plugin order; the first that fails ends it. */
export async function runStartHooks(assembly: Assembly): Promise<void> {
  for (const { plugin, run } of assembly.startHooks) {
    try {
      await run();
    } catch (error) {
      if (error instanceof VmmError) throw error;
      const text = error instanceof Error ? error.message : String(error);
      throw new VmmError('plugin-failed', `could not start: ${text}`, { plugin, cause: error });
    }
  }
}

/** Connects the lines to the platform's router, else to an irqchip inside the backend. */
export function connectLines(assembly: Assembly): void {
  const { lines, container } = assembly.parts;
  const { interrupts } = assembly.backendVm;
  if (container.has(INTERRUPT_ROUTER)) lines.connect(container.get(INTERRUPT_ROUTER));
  else if (interrupts.irqchip === 'internal') lines.connect(interrupts);
}

/** Sets the clock's mode; returns why, for the summary. */
export function chooseClock(assembly: Assembly): string {
  const { options, clock, input } = assembly.parts;
  const counts = assembly.backendVm.instructions() >= 0;
  if (options.clock === 'icount' && !counts) {
    throw new VmmError('unsupported', 'this backend cannot count instructions', {
      path: 'clock',
      remedy: 'use the wall clock',
    });
  }
  if (options.clock !== 'auto') {
    clock.mode = options.clock;
    return options.record || options.replay ? 'the run is recorded or replayed' : 'as asked';
  }
  clock.mode = counts && !input.live ? 'icount' : 'wall';
  if (!counts) return 'this backend does not count instructions';
  return input.live ? 'live input is attached' : 'no live input is attached';
}

/** Starts recording (into `kept` unless the host takes each input itself); ends a replay. */
export function prepareInput(assembly: Assembly, machine: Machine, kept: InputRecord[]): void {
  const { options, input } = assembly.parts;
  const { record, replay } = options;
  if (replay?.end !== undefined) machine.endReplayAt(replay.end);
  if (typeof record === 'function') input.startRecording(record);
  else if (record) input.startRecording((each) => void kept.push(each));
}
