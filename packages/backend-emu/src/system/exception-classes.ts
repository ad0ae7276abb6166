/**
 * Which exceptions make a double fault of another one.
 *
 * Source: AMD APM vol. 2, 8.2.9 and table 8-4; 15.35.5 (#VC). An extension may give vectors of its
 * own another class (Intel's #VE counts as a page fault).
 */
import type { ExtensionException } from '@cloister/core';
import * as R from '../cpu/registers.js';

const CONTRIBUTORY = [
  ...[R.VECTOR_DE, R.VECTOR_TS, R.VECTOR_NP, R.VECTOR_SS, R.VECTOR_GP],
  ...[R.VECTOR_VC, R.VECTOR_SX],
].reduce((bits, vector) => bits | (1 << vector), 0);

const FIXED = [
  ...[R.VECTOR_DE, R.VECTOR_DF, R.VECTOR_TS, R.VECTOR_NP, R.VECTOR_SS, R.VECTOR_GP],
  R.VECTOR_PF,
].reduce((bits, vector) => bits | (1 << vector), 0);

export class ExceptionClasses {
  private contributory = CONTRIBUTORY;
  private pageFaults = 1 << R.VECTOR_PF;

  /** The class of an extension's exception; undefined: as it is. */
  note(vector: number, kind: ExtensionException['class']): void {
    const bit = 1 << vector;
    // What AMD has a class for keeps it, #VC and #SX excepted.
    if (kind === undefined || (bit & FIXED) !== 0) return;
    this.contributory =
      kind === 'contributory' ? this.contributory | bit : this.contributory & ~bit;
    this.pageFaults = kind === 'page-fault' ? this.pageFaults | bit : this.pageFaults & ~bit;
  }

  /** Whether a fault `second` during delivery of exception `first` makes a double fault. */
  makesDoubleFault(first: number, second: number): boolean {
    if (has(this.contributory, first)) return has(this.contributory, second);
    return has(this.pageFaults, first) && has(this.contributory | this.pageFaults, second);
  }
}

function has(bits: number, vector: number): boolean {
  return vector < 32 && ((bits >>> vector) & 1) !== 0;
}
