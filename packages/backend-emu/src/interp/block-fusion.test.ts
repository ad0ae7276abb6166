/** How blocks are made of sequences, and what is known of the flags that they drop. */
import { describe, expect, it } from 'vitest';
import * as L from '../cpu/layout.js';
import * as R from '../isa/op-record.js';
import { effectsOf } from './effects.js';
import { enumerateHandlers, formOfHandler, handlerOfCase } from './handlers.js';
import { sequences } from './sequences.js';
import { testMachine } from './test-machine.js';

const CODE = 0x1000;

describe('fused blocks', () => {
  it('put off flags that the next instruction overwrites, and drop those that nothing sees', () => {
    const machine = testMachine(undefined, true, 'off');
    const handlersOf = (code: readonly number[]): string[] => {
      machine.load(CODE, code);
      machine.interpreter.run(100);
      const { handlers } = machine.opCache;
      const halves = new Uint16Array(machine.record.buffer);
      const mode = machine.record.i32(L.MODE);
      let record = machine.opCache.block(machine.physical.ramBase + CODE, mode, () => -1);
      const names: string[] = [];
      for (;;) {
        const items = handlers.cases[halves[(record + R.OP_HANDLER) >> 1] - handlerOfCase(0)];
        if (items === undefined) return names;
        names.push(items.map((it) => `${it.info.form.mnemonic} ${it.flagUse}`).join(', '));
        record += items.length * R.OP_SIZE;
      }
    };
    // mov rax, rcx; shl rax, 13; xor rax, rcx; cmp rax, rcx; jne; hlt
    expect(
      handlersOf([
        ...[0x48, 0x89, 0xc8, 0x48, 0xc1, 0xe0, 0x0d, 0x48, 0x31, 0xc8],
        ...[0x48, 0x39, 0xc8, 0x75, 0, 0xf4],
      ]),
    ).toEqual(['MOV store, SHL defer, XOR drop', 'CMP store, JNZ store']);
    // The same with a count of zero, which leaves the flags alone.
    expect(handlersOf([0x48, 0x89, 0xc8, 0x48, 0xc1, 0xe0, 0, 0x48, 0x31, 0xc8, 0xf4])).toEqual([
      'MOV store',
      'SHL store',
      'XOR store',
    ]);
    // add rax, rcx; hlt: the flags can be seen.
    expect(handlersOf([0x48, 0x01, 0xc8, 0xf4])).toEqual(['ADD store']);
  });
});

describe('sequences', () => {
  it('are made of forms with cases of their own, each but the last going on to the next', () => {
    const handlers = enumerateHandlers();
    const hot = new Map(
      handlers.cases
        .filter(({ length }) => length === 1)
        .map(([{ info }]) => [info.key.trim(), info]),
    );
    for (const forms of sequences()) {
      for (const [index, form] of forms.entries()) {
        const info = hot.get(form);
        expect(info, form).toBeDefined();
        if (index < forms.length - 1) expect(info?.description.ends, form).not.toBe(true);
      }
    }
  });

  it('have the handler of their first instruction to fall back on', () => {
    const handlers = enumerateHandlers();
    for (const [{ info, plain }] of handlers.cases) {
      expect(formOfHandler(handlers, plain)).toBe(info);
    }
  });
});

describe('effects', () => {
  const handlers = enumerateHandlers();
  const effects = (key: string): unknown => {
    const form = handlers.cases.find(([{ info }]) => info.key.trim() === key)?.[0].info;
    return form && effectsOf(form);
  };
  const none = {
    readsFlags: false,
    writesFlags: false,
    observes: false,
    needsCount: false,
    addresses: false,
  };

  it('are found from the descriptions', () => {
    expect(effects('MOV.64 r64,r64')).toEqual(none);
    expect(effects('ADD.64 r64,r64')).toEqual({ ...none, writesFlags: true });
    expect(effects('ADC.64 r64,r64')).toEqual({ ...none, writesFlags: true, readsFlags: true });
    expect(effects('INC.32 r32')).toEqual({ ...none, writesFlags: true, readsFlags: true });
    expect(effects('SHL.64 r64,i8')).toEqual({ ...none, writesFlags: true, needsCount: true });
    // By CL: a count of zero leaves the flags alone.
    expect(effects('SHL.64 r64,r8')).toEqual({ ...none, readsFlags: true });
    expect(effects('ROL.64 r64,i8')).toMatchObject({ writesFlags: false, readsFlags: true });
    expect(effects('CMP.64 r64,m64')).toEqual({
      ...none,
      writesFlags: true,
      observes: true,
      addresses: true,
    });
    expect(effects('JZ.64 j64')).toMatchObject({ readsFlags: true, observes: true });
    expect(effects('PUSHF.64')).toMatchObject({ readsFlags: true, observes: true });
    expect(effects('CLI.32')).toMatchObject({ observes: true });
  });
});
