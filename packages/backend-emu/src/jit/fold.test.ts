/** Folded constants, as WebAssembly works them out. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CodeEmitter, type Value } from '../wasm/code.js';
import { ModuleBuilder } from '../wasm/module.js';
import { RegionCode } from './region-code.js';

const BINARY = ['add', 'sub', 'mul', 'and', 'or', 'xor', 'shl', 'shr_u', 'shr_s'];
const COMPARISONS = ['eq', 'ne', 'lt_u', 'le_u', 'gt_u', 'ge_u', 'lt_s', 'le_s', 'gt_s', 'ge_s'];
const UNARY = ['eqz', 'extend8_s', 'extend16_s'];
const NAMES = [
  ...[...BINARY, ...COMPARISONS, ...UNARY].flatMap((name) => [`i32.${name}`, `i64.${name}`]),
  ...['i64.extend32_s', 'i32.wrap_i64', 'i64.extend_i32_u', 'i64.extend_i32_s'],
];

type Type = 'i32' | 'i64';

function operandType(name: string): Type {
  if (name.includes('extend_i32')) return 'i32';
  return name === 'i32.wrap_i64' ? 'i64' : (name.slice(0, 3) as Type);
}

function isUnary(name: string): boolean {
  return /eqz|extend|wrap/.test(name);
}

/** Operands in `code`, of patterns that often have few bits or lie at a limit. */
function constants(code: CodeEmitter, name: string, a: bigint, b: bigint): Value[] {
  const one = (value: bigint): Value =>
    operandType(name) === 'i64' ? code.i64(value) : code.i32(Number(BigInt.asIntN(32, value)));
  return isUnary(name) ? [one(a)] : [one(a), one(b)];
}

/** What a function with a result of `type`, emitted by `emit`, returns. */
function returned(type: Type, emit: (code: CodeEmitter) => Value): bigint {
  const module = new ModuleBuilder({ minimum: 1, shared: false });
  const index = module.declare('f', { params: [], results: [type] });
  const code = new CodeEmitter([]);
  code.return(emit(code));
  code.unreachable();
  module.setBody(index, code.finish());
  module.exportFunction('f', index);
  const memory = new WebAssembly.Memory({ initial: 1 });
  const compiled = new WebAssembly.Module(module.build() as BufferSource);
  const { f } = new WebAssembly.Instance(compiled, { env: { memory } }).exports;
  return BigInt((f as () => bigint | number)());
}

describe('fold', () => {
  const small = fc.bigInt(-130n, 130n);
  const around = fc
    .tuple(fc.constantFrom(7n, 15n, 31n, 32n, 63n), small)
    .map(([bits, more]) => (1n << bits) + more);
  const pattern = fc.oneof(small, around, fc.bigInt(-(2n ** 63n), 2n ** 63n - 1n));

  it('gives what the instruction gives', () => {
    fc.assert(
      fc.property(fc.constantFrom(...NAMES), pattern, pattern, (name, a, b) => {
        const region = new RegionCode(new DataView(new ArrayBuffer(64)));
        const [x, y] = constants(region, name, a, b);
        const folded = region.op(name, x, y);
        expect(folded.constant).not.toBeNull();
        const emitted = returned(folded.type as Type, (code) => {
          const [left, right] = constants(code, name, a, b);
          return code.op(name, left, right);
        });
        expect(BigInt(folded.constant as bigint | number)).toBe(emitted);
      }),
      { numRuns: 500 },
    );
  });
});
