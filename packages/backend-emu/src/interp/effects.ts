/**
 * What an instruction does to the status flags and whether anything can look at the state while it
 * runs: found by emitting its description and watching.
 */
import * as L from '../cpu/layout.js';
import type { FormInfo } from '../decode/variant.js';
import { Emitter } from '../isa/emitter.js';
import type { CoreFunctions, Flow } from '../isa/flow.js';
import { CodeEmitter, type Value } from '../wasm/code.js';

export interface Effects {
  /** Asks for a flag, or leaves one as it was. */
  readonly readsFlags: boolean;
  /** Sets all six status flags, whatever the operands are (but for `needsCount`). */
  readonly writesFlags: boolean;
  /** May fault, call out or go elsewhere: the state of before it can be seen. */
  readonly observes: boolean;
  /** `writesFlags` only with an immediate count, the last operand, that is not zero. */
  readonly needsCount: boolean;
  /** Forms the address of its memory operand. */
  readonly addresses: boolean;
}

class Probe extends Emitter {
  reads = false;
  writes = false;
  observes = false;
  needsCount = false;
  addresses = false;

  #asks(): void {
    if (!this.writes) this.reads = true;
  }

  protected override result(): Value {
    this.#asks();
    return super.result();
  }

  protected override carries(): Value {
    this.#asks();
    return super.carries();
  }

  protected override adjust(): Value {
    this.#asks();
    return super.adjust();
  }

  override setFlagWords(result: Value, carries: Value, adjust: Value): void {
    super.setFlagWords(result, carries, adjust);
    if (this.unconditional) this.writes = true;
    else this.#asks();
  }

  override setState64(offset: number, value: Value): void {
    super.setState64(offset, value);
    const isFlagWord = [L.FLAG_RES, L.FLAG_CV, L.FLAG_ADJ].includes(offset);
    // Put off, whole sets of flags do not come here: the others stay.
    if (isFlagWord) this.#asks();
  }

  override unlessZero(count: Value, index: number, body: () => void): void {
    super.unlessZero(count, index, body);
    if (this.kindOf(index) === 'i') this.needsCount = true;
  }

  override address(index: number, bytes?: number): Value {
    this.addresses = true;
    return super.address(index, bytes);
  }

  override effectiveAddress(index: number): Value {
    this.addresses = true;
    return super.effectiveAddress(index);
  }

  override markOp(): void {
    super.markOp();
    this.observes = true;
  }
}

const known = new Map<string, Effects>();

export function effectsOf(info: FormInfo): Effects {
  let effects = known.get(info.key);
  if (effects === undefined) {
    effects = probe(info);
    known.set(info.key, effects);
  }
  return effects;
}

function probe({ form, description }: FormInfo): Effects {
  const code = new CodeEmitter(['i32', 'i32']);
  const observed = (): void => {
    x.observes = true;
  };
  const flow: Flow = {
    fault: observed,
    jump: observed,
    enter: observed,
    follow: observed,
    redispatch: observed,
    leave: observed,
  };
  const seen = (): number => {
    x.reads = true;
    x.observes = true;
    return 0;
  };
  const core: CoreFunctions = {
    ...{
      load: 0,
      store: 0,
      update: 0,
      commitRmw: 0,
      addressSlow: 0,
      system: 0,
      link: 0,
      checkSegment: 0,
    },
    get eflags() {
      return seen();
    },
    get setStatus() {
      return seen();
    },
  };
  const access = description.access ?? 'rw';
  const x = new Probe(code, code.param(0), code.param(1), form, core, flow, () => 0, access);
  x.flagUse = 'defer';
  x.countIsSet = true;
  description.emit(x);
  return {
    readsFlags: x.reads,
    writesFlags: x.writes,
    observes: x.observes,
    needsCount: x.needsCount,
    addresses: x.addresses,
  };
}
