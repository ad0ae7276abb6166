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
});
