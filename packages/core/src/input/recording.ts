/**
 * Recordings of external input, and their file format: JSON lines.
 *
 * First line: what the run must share with the recorded one. Then one line per input with its
 * stamps and base64 data, in order of delivery. The last line says where the recorded run ended, so
 * that a replay ends there as well; a file without it is cut off and refused.
 */
import type { InputRecord, VmEnd } from '../interfaces/index.js';

/** Where and why the recorded run ended. */
export interface RecordedEnd {
  readonly at: number;
  readonly time: number;
  readonly reason: VmEnd['reason'];
}

/** What a replay needs. Whatever is named besides the inputs, the VM takes or must agree with. */
export interface ReplaySource {
  readonly seed?: string | number;
  readonly epochSeconds?: number;
  readonly memory?: number;
  readonly cpus?: number;
  readonly inputs: readonly InputRecord[];
  /** Without an end the replay goes on until the guest or the host ends it. */
  readonly end?: RecordedEnd;
}

/** What a replay shares with the recorded run. */
export interface RecordingHead {
  /** The VM's seed, decimal. */
  readonly seed: string;
  readonly epochSeconds: number;
  /** Bytes of RAM. */
  readonly memory: number;
  readonly cpus: number;
}

export interface InputRecording extends RecordingHead {
  readonly inputs: readonly InputRecord[];
  readonly end: RecordedEnd;
}

export const FORMAT = 'cloister-input';
export const VERSION = 1;

/** Most bytes of one input in a file: 256 MiB. */
export const INPUT_MAX = 2 ** 28;
/** Most bytes of a line: such an input as base64, its stamps and the name of its source. */
export const LINE_MAX = 2 ** 29;

export const REASONS: readonly string[] = [
  'power-off',
  'debug-exit',
  'reset',
  'triple-fault',
  'timeout',
  'stopped',
  'error',
] satisfies VmEnd['reason'][];
