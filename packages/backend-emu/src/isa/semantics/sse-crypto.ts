/**
 * AES-NI, PCLMULQDQ and the SHA extensions. AMD APM vol. 4, chapter 2 (AESDEC to AESKEYGENASSIST,
 * PCLMULQDQ); vol. 3, chapter 3 (SHA1MSG1 to SHA256RNDS2).
 */
import { aesFunctions } from '../../fpu/aes.js';
import { shaFunctions } from '../../fpu/sha.js';
import { SLOW_DESTINATION, SLOW_RESULT, SLOW_SOURCE } from '../../fpu/vector-operation.js';
import { define } from '../define.js';
import type { Value } from '../emitter.js';
import { checkSse, setVector, vector, vectorHost } from '../vector-emitter.js';

for (const name of [...Object.keys(aesFunctions), ...Object.keys(shaFunctions)]) {
  define(name, {}, (x) => {
    checkSse(x);
    // See `isa/vendor-differences.ts`.
    const aligned = !(name in shaFunctions);
    x.code.store('v128.store', x.cpu, vector(x, 1, aligned), SLOW_SOURCE);
    x.code.store('v128.store', x.cpu, vector(x, 0), SLOW_DESTINATION);
    x.system(name, x.form.operands.length > 2 ? [x.immediate(2, false)] : []);
    setVector(x, 0, x.stateAs('v128.load', SLOW_RESULT));
  });
}

/** The immediate's bits 0 and 4 choose halves of destination and source. */
define('PCLMULQDQ', {}, (x) => {
  checkSse(x);
  const immediate = x.wrap(x.immediate(2, false));
  const at = (host: Value, offset: Value): Value =>
    x.code.load('i64.load', x.add(host, x.and(offset, x.i32(8))));
  const b = at(vectorHost(x, 1), x.shrU(immediate, x.i32(1)));
  const a = at(x.registerAddress(0), x.shl(immediate, x.i32(3)));
  const low = x.variable(x.i64(0));
  const high = x.variable(x.i64(0));
  const bit = x.variable(x.i64(0));
  x.code.loop((again) => {
    x.code.scope(() => {
      const chosen = x.negate(x.and(x.shrU(b, bit), x.i64(1)));
      x.set(low, x.xor(low, x.and(x.shl(a, bit), chosen)));
      // Shifted right by 64 - bit in two steps, for bit may be 0.
      const above = x.shrU(x.shrU(a, x.i64(1)), x.sub(x.i64(63), bit));
      x.set(high, x.xor(high, x.and(above, chosen)));
      x.set(bit, x.add(bit, x.i64(1)));
      x.code.brIf(x.ltU(bit, x.i64(64)), again);
    });
  });
  x.code.store('i64.store', x.registerAddress(0), low);
  x.code.store('i64.store', x.registerAddress(0), high, 8);
});
