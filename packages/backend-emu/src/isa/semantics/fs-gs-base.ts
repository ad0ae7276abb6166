/**
 * RDFSBASE, RDGSBASE, WRFSBASE, WRGSBASE. AMD APM vol. 3, chapter 3.
 */
import * as L from '../../cpu/layout.js';
import { define } from '../define.js';
import type { Emitter } from '../emitter.js';

const CR4_FSGSBASE = 1 << 16;
const VECTOR_UD = 6;
/** The sign bit of a virtual address with four levels. */
const CANONICAL_SHIFT = 47;

function requireEnabled(x: Emitter): void {
  const enabled = x.and(x.state32(L.CR4), x.i32(CR4_FSGSBASE));
  x.if(x.eqz(enabled), () => x.raise(VECTOR_UD));
}

for (const [name, segment] of [
  ['FS', L.SEG.fs],
  ['GS', L.SEG.gs],
] as const) {
  const base = L.segmentOffset(segment) + L.SEG_BASE;

  define(`RD${name}BASE`, { access: 'w', hot: true }, (x) => {
    requireEnabled(x);
    x.setOperand(0, x.state64(base));
  });

  define(`WR${name}BASE`, { access: 'r', hot: true }, (x) => {
    requireEnabled(x);
    const value = x.operandU(0);
    if (x.size === 64) {
      const signs = x.shrS(value, x.i64(CANONICAL_SHIFT));
      const canonical = x.eq(signs, x.shrS(value, x.i64(63)));
      x.if(x.eqz(canonical), () => x.system('wideBase', [value]));
    }
    x.setState64(base, value);
  });
}
