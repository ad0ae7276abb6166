/**
 * The extensions of a VM, and what of them there can be one of only.
 */
import {
  type CpuExtension,
  type FrameCipher,
  INTERCEPTS,
  type InterceptName,
  VmmError,
} from '@cloister/core';
import { Decoder, type FeatureTest } from '../decode/decoder.js';
import { EXTENSION_INSTRUCTIONS, extensionFeature } from '../isa/extension-instructions.js';

/** Hooks of the world switch: one extension's. */
const WORLD = [
  ...(['enter', 'leave', 'interrupt', 'init', 'startup', 'registersHidden'] as const),
  ...(['contexts', 'interruptArrivals', 'release'] as const),
];
const CONTEXTS_MAX = 16;

export class ExtensionSet {
  /** Whose `fill` decides about pages. */
  readonly policy: CpuExtension | null;
  /** Its verdicts may be remembered: they last, and there is one bit at most to name pages by. */
  readonly verdictsLast: boolean;
  readonly cipher: FrameCipher | null;
  /** Who switches worlds. */
  readonly world: CpuExtension | null;
  /** Who is asked about intercepted events, and which there may be. */
  readonly intercept: CpuExtension['intercept'];
  readonly intercepts: ReadonlySet<InterceptName>;
  /** Who executes an instruction, by its row. */
  readonly instructions = new Map<string, CpuExtension>();
  readonly registersHidden: boolean;
  readonly contexts: number;
  /** Physical-address bits that they take away, all together. */
  readonly bitReduction: number;
  /** Bits 51:32 of table entries that they give a meaning, as a mask. */
  readonly tableBitsHi: number;
  /** Some vCPU state is an extension's: it is part of a snapshot. */
  readonly hasState: boolean;

  constructor(readonly all: readonly CpuExtension[]) {
    this.policy = only(all, ['fill']);
    this.cipher = only(all, ['cipher'])?.cipher ?? null;
    this.world = only(all, WORLD);
    const asked = only(all, ['intercept', 'intercepts']);
    this.intercept = asked?.intercept?.bind(asked);
    this.intercepts = new Set(this.intercept === undefined ? [] : (asked?.intercepts ?? []));
    for (const each of all) this.addInstructions(each);
    for (const name of this.intercepts) requireEvent(name);
    this.registersHidden = this.world?.registersHidden === true;
    this.contexts = contextsOf(this.world);
    this.hasState = this.world !== null || asked !== null;
    this.bitReduction = all.reduce((sum, each) => sum + (each.physicalBitReduction ?? 0), 0);
    this.tableBitsHi = all
      .flatMap((each) => [...(each.tableBits ?? [])])
      .reduce((mask, bit) => mask | maskOf(bit), 0);
    const oneBit = (this.tableBitsHi & (this.tableBitsHi - 1)) === 0;
    this.verdictsLast = this.policy?.lastingVerdicts === true && oneBit;
  }

  /** A decoder of the model's instructions, by `has`, and the extensions'. */
  decoder(has: FeatureTest): Decoder {
    const features = new Set([...this.instructions.keys()].map(extensionFeature));
    const knows = features.size === 0 ? has : (name: string) => has(name) || features.has(name);
    return new Decoder(knows, this.intercepts.has('pause'));
  }

  private addInstructions(extension: CpuExtension): void {
    for (const mnemonic of extension.instructions ?? []) {
      const other = this.instructions.get(mnemonic);
      if (other !== undefined) throw conflict([other, extension], mnemonic);
      if (!EXTENSION_INSTRUCTIONS.includes(mnemonic) || extension.execute === undefined) {
        throw new VmmError('unsupported', `${extension.name} has an instruction ${mnemonic}`, {
          remedy: `it may have ${EXTENSION_INSTRUCTIONS.join(', ')}, and executes what it has`,
        });
      }
      this.instructions.set(mnemonic, extension);
    }
  }
}

export const NO_EXTENSIONS = new ExtensionSet([]);

function requireEvent(name: string): void {
  if ((INTERCEPTS as readonly string[]).includes(name)) return;
  throw new VmmError('unsupported', `there is no intercept ${name}`, {
    remedy: `there are ${INTERCEPTS.join(', ')}`,
  });
}

function contextsOf(world: CpuExtension | null): number {
  const count = world?.contexts ?? 1;
  if (Number.isInteger(count) && count >= 1 && count <= CONTEXTS_MAX) return count;
  throw new VmmError('invalid-argument', `a vCPU cannot have ${count} contexts`, {
    remedy: `1 to ${CONTEXTS_MAX}`,
  });
}

function maskOf(bit: number): number {
  if (Number.isInteger(bit) && bit >= 32 && bit <= 51) return 1 << (bit - 32);
  throw new VmmError(
    'invalid-argument',
    `${bit} is not a bit of a table entry's address (32 to 51)`,
  );
}

/** The extension that has any of `members`, of which there may be one only. */
export function only(
  extensions: readonly CpuExtension[],
  members: readonly (keyof CpuExtension)[],
): CpuExtension | null {
  const having = extensions.filter((each) => members.some((name) => each[name] !== undefined));
  if (having.length < 2) return having[0] ?? null;
  throw conflict(having, members.find((name) => having[1]![name] !== undefined)!);
}

function conflict([first, second]: readonly CpuExtension[], member: string): VmmError {
  const names = `${first!.name} and ${second!.name}`;
  return new VmmError('plugin-conflict', `CPU extensions ${names} both have ${member}`, {
    remedy: 'use one of them',
  });
}
