/**
 * Exact conversion between virtual nanoseconds and the ticks of a crystal.
 *
 * Whole seconds are split off first: products then stay below 2^53 for every frequency under 9 MHz,
 * so that no tick is ever lost or repeated.
 */
const SECOND = 1_000_000_000;

/** Ticks of a `hz` clock that are complete at `nanoseconds`; tick 0 is at time 0. */
export function ticksAt(nanoseconds: number, hz: number): number {
  const seconds = Math.floor(nanoseconds / SECOND);
  const rest = nanoseconds - seconds * SECOND;
  return seconds * hz + Math.floor((rest * hz) / SECOND);
}

/** The first nanosecond at which `ticks` ticks of a `hz` clock are complete. */
export function timeOfTick(ticks: number, hz: number): number {
  const seconds = Math.floor(ticks / hz);
  const rest = ticks - seconds * hz;
  return seconds * SECOND + Math.ceil((rest * SECOND) / hz);
}
