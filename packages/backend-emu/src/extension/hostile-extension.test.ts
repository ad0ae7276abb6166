/**
 * Whatever an extension answers, and whatever its guest does, nothing is thrown and every run ends:
 * random programs under an extension whose every decision is random.
 */
import {
  type CpuExtension,
  type ExtensionVcpu,
  INTERCEPTS,
  type InterceptVerdict,
  REGISTER_WINDOW_SIZE,
} from '@cloister/core';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { TestComputer } from '../cpu/test-computer.js';
import { AT } from '../cpu/test-processor.js';

/** Instructions that an extension may be asked about, and some that move memory. */
const CODES = [
  ...['0f a2', '0f 31', '0f 33', 'e4 60', 'e7 60', 'f3 6e', 'f3 6d', '0f 32', '0f 30'],
  ...['0f 21 f8', '0f 23 f8', 'f4', 'f3 90', '0f 09', '0f 08', '0f 01 c8', '0f 01 d9'],
  ...['0f 01 d1', '48 cf', 'fb', 'fa', '44 0f 22 c0', '0f 22 e0', '0f 22 c0', '0f 06', 'cd 40'],
  ...['f3 0f 01 d9', 'f2 0f 01 ff', '66 0f 01 cc', '48 89 07', '48 8b 06', '50', '58', '90'],
  ...['b8 33 00 01 80', '48 ff c7', 'eb f0', '0f 0b', '48 31 d2', 'b9 1b 00 00 00'],
] as const;
const KINDS = ['interrupt', 'nmi', 'exception', 'software'] as const;
const CLASSES = ['benign', 'contributory', 'page-fault'] as const;

/** Decides everything by the bytes of `choices`, over and over. */
class Wild implements CpuExtension {
  readonly name = 'wild';
  readonly intercepts = INTERCEPTS;
  readonly instructions = ['VMGEXIT', 'PVALIDATE', 'TDCALL'];
  readonly contexts = 3;
  readonly interruptArrivals: boolean;
  #at = 0;
  readonly #window = new Uint8Array(REGISTER_WINDOW_SIZE);

  constructor(
    private readonly choices: Uint8Array,
    readonly registersHidden: boolean,
  ) {
    this.interruptArrivals = this.#next() % 2 === 0;
  }

  #next(): number {
    this.#at = (this.#at + 1) % this.choices.length;
    return this.choices[this.#at]!;
  }

  #meddle(vcpu: ExtensionVcpu): void {
    const data = new Uint8Array(4);
    const value = { lo: this.#next(), hi: 0 };
    switch (this.#next() % 24) {
      case 0:
        vcpu.saveRegisters(this.#window);
        break;
      case 1:
        vcpu.loadRegisters(this.#window);
        break;
      case 2:
        vcpu.clearRegisters();
        break;
      case 3:
        vcpu.complete();
        break;
      case 4:
        vcpu.switchContext(this.#next() % 3);
        break;
      case 5:
        vcpu.halt(this.#next() % 2 === 0);
        break;
      case 6:
        vcpu.run();
        break;
      case 7:
        vcpu.yield();
        break;
      case 8:
        this.#inject(vcpu);
        break;
      case 9:
        if (vcpu.pending !== 'none') vcpu.acknowledge();
        break;
      case 10:
        vcpu.nmiBlocked = this.#next() % 2 === 0;
        break;
      case 11:
        vcpu.host.io('in', this.#next(), 4, 1, data);
        break;
      case 12:
        vcpu.host.mmio('write', 0xfee00000 + 16 * this.#next(), data.fill(this.#next()));
        break;
      case 13:
        vcpu.host.writeMsr(0x800 + this.#next(), value);
        break;
      case 14:
        vcpu.host.readMsr(0xc0000080 + (this.#next() % 8), value);
        break;
      case 15:
        this.#window.set(
          this.choices.subarray(0, 64),
          (8 * this.#next() - 8 * this.#next()) & 0x1f8,
        );
        break;
      case 16:
        vcpu.flushTlb();
        break;
      case 17:
        vcpu.host.hypercall(this.#next(), new Uint32Array(8), value);
        break;
      case 18:
        if (this.#next() % 8 === 0) vcpu.stop(this.#next() % 2 === 0 ? 'error' : 'shutdown');
        break;
      case 19:
        if (this.#next() % 8 === 0) vcpu.waitForStartup();
        break;
      default:
    }
  }

  #inject(vcpu: ExtensionVcpu): void {
    const type = KINDS[this.#next() % 4]!;
    const vector = type === 'nmi' ? 2 : this.#next() & (type === 'exception' ? 31 : 255);
    vcpu.inject({ vector, type, errorCode: this.#next() % 2 === 0 ? null : this.#next() });
  }

  enter(vcpu: ExtensionVcpu) {
    vcpu.setIntercepts(new Set(INTERCEPTS.filter(() => this.#next() % 3 !== 0)));
    this.#meddle(vcpu);
    return this.#next() % 32 === 0 ? { code: 'wild', message: 'not now' } : null;
  }

  leave(vcpu: ExtensionVcpu): void {
    this.#meddle(vcpu);
  }

  interrupt(vcpu: ExtensionVcpu): void {
    this.#meddle(vcpu);
  }

  init(vcpu: ExtensionVcpu): void {
    this.#meddle(vcpu);
  }

  startup(_vector: number, vcpu: ExtensionVcpu): void {
    this.#meddle(vcpu);
  }

  intercept(_event: string, vcpu: ExtensionVcpu): InterceptVerdict {
    this.#meddle(vcpu);
    this.#meddle(vcpu);
    return this.#verdict();
  }

  execute(_mnemonic: string, vcpu: ExtensionVcpu): InterceptVerdict {
    return this.intercept('', vcpu);
  }

  #verdict(): InterceptVerdict {
    const kind = (['proceed', 'resume', 'exception'] as const)[this.#next() % 3]!;
    if (kind !== 'exception') return { kind };
    const errorCode = this.#next() % 2 === 0 ? null : this.#next();
    const exception = { vector: this.#next() % 32, errorCode, class: CLASSES[this.#next() % 3]! };
    return { kind, exception };
  }
}

it('an extension that decides at random throws nothing and never keeps a run from ending', () => {
  fc.assert(
    fc.property(
      fc.array(fc.constantFrom(...CODES), { minLength: 4, maxLength: 40 }),
      fc.uint8Array({ minLength: 32, maxLength: 256 }),
      fc.boolean(),
      fc.constantFrom('off' as const, 'stress' as const),
      (codes, choices, hidden, jit) => {
        const t = new TestComputer('', jit, [new Wild(choices, hidden)]);
        t.longMode();
        for (let vector = 0; vector < 256; vector++) t.longGate(vector);
        t.load(AT.code, codes.join(' ')).load(AT.handlers, '48 cf '.repeat(0x800));
        for (let slice = 0; slice < 20; slice++) {
          t.run(25);
          if (slice % 5 === 3) t.cpu.nmi();
          if (slice === 9) t.cpu.init();
          if (slice === 11) t.cpu.startup(4);
        }
        expect(t.vcpu.executed).toBeLessThanOrEqual(20 * 25);
      },
    ),
    { numRuns: 60 },
  );
});
