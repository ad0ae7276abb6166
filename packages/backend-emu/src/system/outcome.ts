/**
 * What a system function answers, and how a fault leaves one.
 *
 * Inside a system function a fault is recorded (FAULT_VECTOR, FAULT_ERROR) and `GUEST_FAULT` is
 * thrown: control flow, caught in `Processor.callSystem`, so that the code reads like the manual.
 */

/** Go on after the instruction. */
export const NEXT = 0;
/** An exception is pending in FAULT_VECTOR and FAULT_ERROR. */
export const FAULT = 1;
/** RIP holds the new address; privilege or mode may have changed. */
export const REDISPATCH = 2;
/** Leave the run loop: HLT, shutdown, a stop. RIP holds where to go on. */
export const LEAVE = 3;

export type Outcome = typeof NEXT | typeof FAULT | typeof REDISPATCH | typeof LEAVE;

/** Thrown for every guest fault; never an Error, so that throwing it costs little. */
export const GUEST_FAULT: unique symbol = Symbol('guest fault');
