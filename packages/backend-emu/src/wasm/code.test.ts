/** Code that the emitter makes, compiled and run. */
import { describe, expect, it } from 'vitest';
import { CodeEmitter } from './code.js';
import { ModuleBuilder } from './module.js';

function instantiate(builder: ModuleBuilder): Record<string, CallableFunction> {
  const memory = new WebAssembly.Memory({ initial: 1 });
  const module = new WebAssembly.Module(builder.build() as BufferSource);
  const instance = new WebAssembly.Instance(module, { env: { memory } });
  return instance.exports as Record<string, CallableFunction>;
}

describe('CodeEmitter', () => {
  it('emits a loop that sums', () => {
    const builder = new ModuleBuilder({ minimum: 1, shared: false });
    const index = builder.declare('sum', { params: ['i32'], results: ['i32'] });
    const code = new CodeEmitter(['i32']);
    const n = code.variable(code.param(0));
    const sum = code.variable(code.i32(0));
    code.loop((again) => {
      code.scope(() => {
        code.set(sum, code.op('i32.add', sum, n));
        code.set(n, code.op('i32.sub', n, code.i32(1)));
        code.brIf(n, again);
      });
    });
    code.return(sum);
    code.unreachable();
    builder.setBody(index, code.finish());
    builder.exportFunction('sum', index);
    expect(instantiate(builder).sum(10)).toBe(55);
  });

  it('gives locals back at the end of a scope', () => {
    const code = new CodeEmitter([]);
    for (let i = 0; i < 100; i++) {
      code.scope(() => code.op('i64.add', code.i64(1), code.i64(2)));
    }
    expect(code.locals.length).toBe(1);
  });

  it('leaves out an empty else at the end of another block', () => {
    const builder = new ModuleBuilder({ minimum: 1, shared: false });
    const index = builder.declare('both', { params: ['i32', 'i32'], results: ['i32'] });
    const code = new CodeEmitter(['i32', 'i32']);
    const result = code.variable(code.i32(0));
    const inner = () =>
      code.if(
        code.param(1),
        () => code.set(result, code.i32(7)),
        () => {},
      );
    code.if(code.param(0), inner);
    code.if(code.param(0), () => {}, inner);
    code.return(result);
    code.unreachable();
    builder.setBody(index, code.finish());
    builder.exportFunction('both', index);
    const { both } = instantiate(builder);
    expect([both(1, 1), both(1, 0), both(0, 1), both(0, 0)]).toEqual([7, 0, 7, 0]);
  });

  it('leaves a value on the stack for its next use, and keeps it for later ones', () => {
    const builder = new ModuleBuilder({ minimum: 1, shared: false });
    const index = builder.declare('mix', { params: ['i32', 'i32'], results: ['i32'] });
    const code = new CodeEmitter(['i32', 'i32']);
    const [a, b] = [code.param(0), code.param(1)];
    const result = code.variable(code.i32(0));
    const sum = code.op('i32.add', a, b);
    // The second operand is the fresh one: once where operands change places, once where not.
    const product = code.op('i32.mul', a, sum);
    const difference = code.op('i32.sub', b, product);
    code.if(
      code.op('i32.lt_s', difference, code.i32(0)),
      () => code.set(result, difference),
      () => {},
    );
    const all = code.op('i32.xor', code.op('i32.shl', sum, code.i32(8)), product);
    code.return(code.op('i32.add', all, result));
    code.unreachable();
    builder.setBody(index, code.finish());
    builder.exportFunction('mix', index);
    const { mix } = instantiate(builder);
    for (const [x, y] of [
      [3, 4],
      [-3, 4],
      [7, -1000],
    ] as const) {
      const product = x * (x + y);
      const expected = (((x + y) << 8) ^ product) + Math.min(y - product, 0);
      expect(mix(x, y)).toBe(expected | 0);
    }
  });
});
