/**
 * The kit for backends finds what is wrong, and accepts what backends may do differently: the
 * emulated processor behind a layer that alters exits, registers or ends.
 */
import type { BackendVm, CpuBackend, ExitSink, Vcpu, VcpuState, VmExit } from '@cloister/core';
import { type BackendSubject, CORPUS, runBackendKit } from '@cloister/core/testing';
import { describe, expect, it } from 'vitest';
import { emulatedBackend } from './index.js';

interface Layer {
  /** Delivers an exit in place of the backend. */
  readonly deliver?: (exit: VmExit, sink: ExitSink) => void;
  readonly readState?: (state: VcpuState) => VcpuState;
  /** Gives up before the first instruction of a VM. */
  readonly giveUp?: boolean;
}

function alteredVcpu(vcpu: Vcpu, layer: Layer): Vcpu {
  const { deliver = (exit, sink) => sink(exit), readState = (state) => state } = layer;
  return {
    index: vcpu.index,
    run(slice, sink) {
      if (layer.giveUp !== true) return vcpu.run(slice, (exit) => deliver(exit, sink));
      const bytes = new Uint8Array();
      const message = 'cannot';
      sink({ kind: 'error', vcpu: 0, instructions: 0, code: 'emulation-failure', message, bytes });
      return 'error';
    },
    shorten: (instructions) => vcpu.shorten(instructions),
    kick: () => vcpu.kick(),
    get runnable() {
      return vcpu.runnable;
    },
    readState: () => readState(vcpu.readState()),
    writeState: (state) => vcpu.writeState(state),
    nmi: () => vcpu.nmi(),
  };
}

function altered(layer: Layer): CpuBackend {
  const inner = emulatedBackend();
  return {
    name: 'altered',
    probe: () => inner.probe(),
    async createVm(options) {
      const vm = await inner.createVm(options);
      const vcpus = vm.vcpus.map((vcpu) => alteredVcpu(vcpu, layer));
      return new Proxy(vm, {
        get(target, key: keyof BackendVm) {
          if (key === 'vcpus') return vcpus;
          const value = target[key];
          return typeof value === 'function' ? value.bind(target) : value;
        },
      });
    },
  };
}

/** Verdict and notes of one program. */
async function judge(name: string, layer: Layer, more: Partial<BackendSubject> = {}) {
  const programs = CORPUS.filter((program) => program.name === name);
  const subject = { name: 'altered', make: () => altered(layer), programs, ...more };
  const { programs: reports, missing } = await runBackendKit(subject);
  const [{ verdict, notes }] = reports as [(typeof reports)[0]];
  return { verdict, notes: notes.join('\n'), missing: [...missing.keys()] };
}

describe('the kit for backends', () => {
  it('passes what is right', async () => {
    expect(await judge('ports', {})).toMatchObject({ verdict: 'passed', notes: '' });
  });

  it.each([
    [
      'an exit that is not delivered',
      'ports',
      {
        deliver: (exit: VmExit, sink: ExitSink) => {
          if (exit.kind !== 'io' || exit.port !== 0xe1) sink(exit);
        },
      },
      /^exit 1: cpu0 io out 0xe2 78563412 instead of cpu0 io out 0xe1 3412$/,
    ],
    [
      'a value that does not arrive',
      'mmio',
      {
        deliver: (exit: VmExit, sink: ExitSink) => {
          sink(exit);
          if (exit.kind === 'mmio' && exit.direction === 'read') exit.data[0]! ^= 1;
        },
      },
      /^a byte: 0xffffff02 instead of 0xffffff03$/m,
    ],
    [
      'an access at a wrong address',
      'mmio',
      {
        deliver: (exit: VmExit, sink: ExitSink) => {
          sink(exit.kind === 'mmio' ? { ...exit, gpa: exit.gpa + 4 } : exit);
        },
      },
      /^exit 0: cpu0 mmio write 0xd0000004 01 instead of/m,
    ],
    [
      'a register that reads wrong',
      'state',
      { readState: (state: VcpuState) => ({ ...state, cr2: 0n }) },
      /^final cr2: 0x0 instead of 0x12340000$/,
    ],
    [
      'an end by an error, where nothing was missing',
      'ports',
      { giveUp: true },
      /^ended by error [\s\S]*emulation-failure: cannot$/,
    ],
  ])('finds %s', async (_what, program, layer, notes) => {
    expect(await judge(program, layer)).toMatchObject({
      verdict: 'failed',
      notes: expect.stringMatching(notes),
    });
  });

  it('accepts accesses that come in pieces, and strings an item at a time', async () => {
    const deliver = (exit: VmExit, sink: ExitSink): void => {
      if (exit.kind === 'mmio' && exit.size === 8) {
        for (const at of [0, 4]) {
          const data = exit.data.subarray(at, at + 4);
          sink({ ...exit, gpa: exit.gpa + at, size: 4, data });
        }
      } else if (exit.kind === 'io') {
        for (let item = 0; item < exit.count; item++) {
          const data = exit.data.subarray(item * exit.size, (item + 1) * exit.size);
          sink({ ...exit, count: 1, data });
        }
      } else sink(exit);
    };
    for (const program of ['mmio', 'ports']) {
      expect(await judge(program, { deliver })).toMatchObject({ verdict: 'passed', notes: '' });
    }
  });

  it('skips what needs something that its probe found missing, and nothing else', async () => {
    expect(await judge('segment-info', { giveUp: true })).toMatchObject({
      verdict: 'skipped',
      missing: ['lar'],
    });
  });

  it('accepts a listed deviation, and not one that is none', async () => {
    const deviations = { state: { why: 'the host loses CR2', differs: ['final cr2'] } };
    const wrong = { readState: (state: VcpuState) => ({ ...state, cr2: 0n }) };
    expect((await judge('state', wrong, { deviations })).verdict).toBe('deviated');
    expect(await judge('state', {}, { deviations })).toMatchObject({
      verdict: 'failed',
      notes: expect.stringMatching(/does as it should/),
    });
    const more = {
      readState: (state: VcpuState) => ({ ...state, cr2: 0n, cr3: state.cr3 + 4096n }),
    };
    expect(await judge('state', more, { deviations })).toMatchObject({
      verdict: 'failed',
      notes: expect.stringMatching(/^final cr3: [^\n]*$/),
    });
  });
});
