/** The world switch of an extension: entering, leaving, interrupts, halts, contexts. */
import {
  type CpuExtension,
  type ExtensionVcpu,
  type InterceptVerdict,
  REGISTER_WINDOW_SIZE,
} from '@cloister/core';
import { describe, expect, it } from 'vitest';
import * as L from '../cpu/layout.js';
import { TestComputer } from '../cpu/test-computer.js';
import { AT } from '../cpu/test-processor.js';

const RESUME: InterceptVerdict = { kind: 'resume' };

/** Keeps the registers of its guest in a window of its own while the host has the vCPU. */
function keeper(more: Partial<CpuExtension> = {}): CpuExtension & { window: Uint8Array } {
  const window = new Uint8Array(REGISTER_WINDOW_SIZE);
  let loaded = false;
  return {
    name: 'keeper',
    window,
    registersHidden: true,
    enter(vcpu) {
      if (loaded) vcpu.loadRegisters(window);
      return null;
    },
    leave(vcpu) {
      vcpu.saveRegisters(window);
      loaded = true;
    },
    ...more,
  };
}

/** Has the processor keep them, and saves them when it is told to. */
function lender(): CpuExtension & { saves: number; loads: number } {
  const window = new Uint8Array(REGISTER_WINDOW_SIZE);
  let saved = false;
  return {
    name: 'lender',
    registersHidden: true,
    saves: 0,
    loads: 0,
    enter(vcpu) {
      if (!saved) return null;
      this.loads++;
      saved = false;
      vcpu.loadRegisters(window);
      return null;
    },
    leave: (vcpu) => vcpu.keepRegisters(),
    release(vcpu) {
      this.saves++;
      saved = true;
      vcpu.saveRegisters(window);
    },
  };
}

function computer(code: string, extension: CpuExtension, jit: 'off' | 'stress'): TestComputer {
  const t = new TestComputer('', jit, [extension]);
  t.longMode();
  for (const vector of [2, 8, 13, 14, 20, 29, 0x40, 0x41]) t.longGate(vector);
  return t.load(AT.code, code).load(AT.handlers, '90 '.repeat(0x500));
}

describe.each(['off', 'stress'] as const)('a world switch with translation %s', (jit) => {
  it('has the guest’s registers in the record between enter and leave only', () => {
    const secret = 0x5ec2e75ec2e75ec2n;
    // mov rax, secret; movq xmm3, rax; push rax; jmp $
    const code = '48 b8 c2 5e e7 c2 5e e7 c2 5e 66 48 0f 6e d8 50 eb fe';
    const t = computer(code, keeper(), jit);
    for (let slice = 0; slice < 4; slice++) t.run(3);
    const record = new DataView(t.record.buffer, t.record.base, L.RECORD_SIZE);
    for (let at = 0; at + 8 <= L.RECORD_SIZE; at++) {
      expect(record.getBigUint64(at, true)).not.toBe(secret);
    }
    expect(t.vcpu.executed).toBe(12);
    expect(t.u64(AT.stack - 8)).toBe(secret);
    expect(() => t.vcpu.readState()).toThrow('the protection hides the registers');
    expect(() => t.vcpu.writeState(t.cpu.readState())).toThrow('the protection hides');
    expect(() => t.vcpu.step(() => {})).toThrow('the protection hides');
  });

  it('runs a program in slices as it runs without the switch', () => {
    // mov r8d, 300; l: add rax, rcx; imul rbx, rax, 5; dec r8d; jnz l; hlt
    const code = '41 b8 2c 01 00 00 48 01 c8 48 6b d8 05 41 ff c8 75 f4 f4';
    const plain = new TestComputer('', jit);
    plain.longMode().cpu.setEflags(0, 0);
    plain.load(AT.code, code);
    const t = computer(code, keeper(), jit);
    plain.run(1e6);
    for (let slice = 1; t.vcpu.executed < plain.vcpu.executed; slice++) t.run((slice % 7) + 1);
    expect(t.vcpu.executed).toBe(plain.vcpu.executed);
    t.cpu.extension.loadRegisters((t.cpu.extension.set.world as ReturnType<typeof keeper>).window);
    expect(t.cpu.readState()).toEqual(plain.cpu.readState());
  });

  it('lets the processor keep the registers until somebody looks at it', () => {
    const secret = 0x5ec2e75ec2e75ec2n;
    const holdsSecret = (bytes: Uint8Array) =>
      Array.from({ length: L.RECORD_SIZE - 7 }, (_, at) => at).some(
        (at) => new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(at, true) === secret,
      );
    // mov rax, secret; l: push rax; inc rcx; jmp l
    const code = '48 b8 c2 5e e7 c2 5e e7 c2 5e 50 48 ff c1 eb fa';
    const plain = new TestComputer('', jit);
    plain.longMode().load(AT.code, code);
    const extension = lender();
    const t = computer(code, extension, jit);
    for (let slice = 0; slice < 4; slice++) t.run(3 + slice);
    expect([extension.saves, extension.loads]).toEqual([0, 0]);
    expect(() => t.vcpu.readState()).toThrow('the protection hides the registers');
    const { record } = t.cpu.snapshot().state as { record: Uint8Array };
    expect(holdsSecret(record)).toBe(false);
    expect(holdsSecret(t.record.bytes)).toBe(false);
    expect([extension.saves, extension.loads]).toEqual([1, 0]);
    t.run(5);
    t.run(5);
    expect([extension.saves, extension.loads]).toEqual([1, 1]);
    plain.run(t.vcpu.executed);
    expect(t.cpu.readState()).toEqual(plain.cpu.readState());
    // INIT would replace them.
    t.cpu.init();
    t.run(1);
    expect([extension.saves, extension.loads]).toEqual([2, 2]);
  });

  it('is refused with the reason, and nothing runs', () => {
    const refusal = { code: 'invalid-area', message: 'the save area was changed' };
    const t = computer('90', keeper({ enter: () => refusal }), jit);
    expect(t.run(5)).toBe('error');
    expect(t.exits).toMatchObject([{ kind: 'error', ...refusal }]);
    expect(t.vcpu.executed).toBe(0);
  });

  it('goes on at the registers that an intercept has loaded', () => {
    const other = new Uint8Array(REGISTER_WINDOW_SIZE);
    const swapping: CpuExtension = {
      name: 'swapping',
      intercepts: ['vmmcall'],
      enter(vcpu) {
        vcpu.setIntercepts(new Set(['vmmcall']));
        return null;
      },
      intercept(_event, vcpu) {
        vcpu.complete();
        vcpu.saveRegisters(other);
        vcpu.clearRegisters();
        new DataView(other.buffer).setUint32(0, 77, true);
        vcpu.loadRegisters(other);
        return RESUME;
      },
    };
    const t = computer('0f 01 d9 90 eb fe', swapping, jit);
    t.run(2);
    expect([t.rip, t.record.u64(0)]).toEqual([AT.code + 4, 77n]);
  });
});

/** An extension that takes interrupts by this function. */
function taking(interrupted: (vcpu: ExtensionVcpu) => void, more: Partial<CpuExtension> = {}) {
  const seen: string[] = [];
  const extension: CpuExtension = {
    name: 'taking',
    interrupt(vcpu) {
      seen.push(`${vcpu.pending} ${vcpu.interruptFlag} ${vcpu.interruptShadow}`);
      interrupted(vcpu);
    },
    ...more,
  };
  return { seen, extension };
}

const inject = (vcpu: ExtensionVcpu): void => {
  const type = vcpu.pending === 'nmi' ? 'nmi' : 'interrupt';
  vcpu.inject({ vector: vcpu.acknowledge(), type, errorCode: null });
};

/** Has the local APIC of the boot CPU ask for `vector`. */
function post(t: TestComputer, vector: number): void {
  t.cpu.services.msrs.write(0x1b, 0xfee00d00, 0);
  t.cpu.services.msrs.write(0x80f, 0x1ff, 0);
  t.cpu.services.msrs.write(0x83f, vector, 0);
}

describe.each(['off', 'stress'] as const)('interrupts with translation %s', (jit) => {
  it('are offered when the guest can take them, and delivered where injected', () => {
    const { seen, extension } = taking(inject);
    // nop; sti; nop; nop
    const t = computer('90 fb 90 90 90', extension, jit);
    post(t, 0x40);
    t.run(2);
    expect([t.rip, seen]).toEqual([AT.code + 2, []]);
    t.run(1);
    expect([t.rip, t.vcpu.executed]).toEqual([AT.handlers + 0x40 * 16, 3]);
    expect(seen).toEqual(['interrupt true false']);
    const rsp = Number(t.record.u64(L.gprOffset(4)));
    expect(t.u64(rsp)).toBe(BigInt(AT.code + 3));
  });

  it('are told of at arrival, once, where the extension wants that', () => {
    const { seen, extension } = taking(
      (vcpu) => {
        if (vcpu.interruptFlag && !vcpu.interruptShadow) inject(vcpu);
      },
      { interruptArrivals: true },
    );
    const t = computer('90 90 fb 90 90', extension, jit);
    post(t, 0x41);
    t.run(5);
    expect(seen).toEqual(['interrupt false false', 'interrupt true false']);
    expect(t.rip).toBe(AT.handlers + 0x41 * 16 + 1);
  });

  it('block NMIs from one to IRET, or until the extension says', () => {
    for (const unblocks of [true, false]) {
      const { seen, extension } = taking(inject, {
        enter(vcpu) {
          vcpu.iretUnblocksNmi = unblocks;
          return null;
        },
      });
      const t = computer('90 90 90 90', extension, jit);
      t.load(AT.handlers + 32, '48 cf');
      t.cpu.nmi();
      t.run(0);
      t.cpu.nmi();
      expect(t.rip).toBe(AT.handlers + 32);
      t.run(1);
      expect(seen.length).toBe(unblocks ? 2 : 1);
      if (unblocks) continue;
      expect(t.rip).toBe(AT.code);
      t.cpu.extension.nmiBlocked = false;
      t.run(0);
      expect([seen.length, t.rip]).toEqual([2, AT.handlers + 32]);
    }
  });

  it('wake a halt when injected, and do not spin when declined', () => {
    let take = false;
    const { seen, extension } = taking((vcpu) => take && inject(vcpu), {
      intercepts: ['hlt'],
      registersHidden: false,
      enter(vcpu) {
        vcpu.setIntercepts(new Set(['hlt']));
        return null;
      },
      intercept(_event, vcpu) {
        vcpu.halt(true);
        return RESUME;
      },
    });
    const t = computer('f4 90 90', extension, jit);
    expect([t.run(10), t.vcpu.runnable, t.rip]).toEqual(['halted', false, AT.code + 1]);
    post(t, 0x40);
    expect(t.vcpu.runnable).toBe(true);
    expect([t.run(10), t.vcpu.runnable, seen.length]).toEqual(['halted', false, 1]);
    take = true;
    post(t, 0x41);
    // A higher one of the same class of priority makes nothing deliverable anew: an NMI does.
    t.cpu.nmi();
    expect(t.vcpu.runnable).toBe(true);
    t.run(1);
    expect(t.rip).toBe(AT.handlers + 32 + 1);
  });

  it('can be exceptions with an error code, which make double faults by their class', () => {
    for (const [kind, expected] of [
      ['contributory', 8],
      ['benign', 13],
    ] as const) {
      const exception = { vector: 29, errorCode: 0x400, class: kind };
      const extension: CpuExtension = {
        name: 'raising',
        intercepts: ['hlt'],
        enter(vcpu) {
          vcpu.setIntercepts(new Set(['hlt']));
          return null;
        },
        intercept: () => ({ kind: 'exception', exception }),
      };
      const t = computer('f4', extension, jit);
      // The gate of 29 is no gate: its delivery is #GP.
      t.setU64(AT.idt + 29 * 16, 0n);
      t.run(1);
      expect(t.rip, kind).toBe(AT.handlers + expected * 16);
    }
  });

  it('of any kind may be injected, but no vector that there is not', () => {
    const events = [
      { vector: 0x40, type: 'interrupt', errorCode: null },
      { vector: 0x40, type: 'software', errorCode: null },
      { vector: 14, type: 'exception', errorCode: 6 },
    ] as const;
    for (const event of events) {
      const { extension } = taking(() => {}, {
        enter(vcpu) {
          vcpu.inject(event);
          return null;
        },
      });
      const t = computer('90', extension, jit);
      t.run(0);
      expect(t.rip).toBe(AT.handlers + event.vector * 16);
    }
    const t = computer('90', taking(inject).extension, jit);
    const wrong = { vector: 300, type: 'interrupt', errorCode: null } as const;
    expect(() => t.cpu.extension.inject(wrong)).toThrow('injects vector 300 as interrupt');
    expect(() => t.cpu.extension.acknowledge()).toThrow('no interrupt waits');
  });
});

describe('INIT and start-up', () => {
  it('are the extension’s, in the host’s world', () => {
    const seen: string[] = [];
    const extension = keeper({
      init(vcpu) {
        seen.push('init');
        vcpu.waitForStartup();
      },
      startup(vector) {
        seen.push(`startup ${vector}`);
      },
    });
    const { enter, leave } = extension;
    extension.enter = (vcpu) => {
      seen.push('enter');
      return enter!(vcpu);
    };
    extension.leave = (vcpu) => {
      seen.push('leave');
      leave!(vcpu);
    };
    const t = computer('90 90 90 eb fe', extension, 'off');
    t.run(1);
    t.cpu.init();
    expect(t.vcpu.runnable).toBe(true);
    expect([t.run(5), t.vcpu.runnable]).toEqual(['waiting', false]);
    t.cpu.startup(0x9a);
    expect(t.vcpu.runnable).toBe(true);
    t.run(1);
    expect(seen.join(', ')).toBe('enter, leave, init, startup 154, enter, leave');
    expect(t.vcpu.executed).toBe(2);
  });

  it('are the processor’s without such hooks', () => {
    const t = computer('90 eb fe', { name: 'plain', leave: () => {} }, 'off');
    t.run(1);
    t.cpu.init();
    t.run(0);
    expect(t.cpu.readState().rip).toBe(0xfff0n);
  });
});

describe('contexts', () => {
  it('have registers of their own, and translations too', () => {
    const asked: number[] = [];
    const extension: CpuExtension = {
      name: 'contexts',
      contexts: 3,
      intercepts: ['vmmcall'],
      enter(vcpu) {
        vcpu.setIntercepts(new Set(['vmmcall']));
        return null;
      },
      intercept(_event, vcpu) {
        const state = vcpu.readState();
        const next = (vcpu.context + 1) % 3;
        vcpu.complete();
        vcpu.switchContext(next);
        if (vcpu.gpr[0] === 0 && next !== 0) {
          const rip = BigInt(AT.code + 3);
          vcpu.writeState({ ...state, rip, gpr: { ...state.gpr, rax: BigInt(100 * next) } });
        }
        return RESUME;
      },
      fill(request) {
        if (request.access === 'execute') asked.push(request.context);
        const gpa = request.gpaHi * 2 ** 32 + request.gpaLo;
        return { kind: 'page', gpa, spa: gpa, permissions: 7, keyTag: 0 };
      },
    };
    // l: vmmcall; inc eax; jmp l
    const t = computer('0f 01 d9 ff c0 eb f9', extension, 'off');
    t.run(3 * 9);
    const values = [0, 1, 2].map((context) => {
      t.cpu.extension.switchContext(context);
      return t.cpu.extension.gpr[0];
    });
    expect(values).toEqual([3, 103, 203]);
    expect(new Set(asked)).toEqual(new Set([0, 1, 2]));
    expect(() => t.cpu.extension.switchContext(3)).toThrow('there is no context 3');
  });
});
