/**
 * Which blocks make a region: what is reached from the hot one by branches, as far as it has been
 * executed. A call leads into the function and, by its return, behind the call.
 */
import type { FormInfo } from '../decode/variant.js';
import { effectsOf } from '../interp/effects.js';
import { formOfHandler, type HandlerSet } from '../interp/handlers.js';
import type { Block } from '../interp/op-cache.js';
import * as R from '../isa/op-record.js';
import { isCompilable } from './compilable.js';
import type { Region, RegionNode, RegionOp } from './region.js';
import { components } from './structure.js';

const NODES = 100;
/** Places behind calls that a return is compared with. */
const RETURNS = 8;

const CALLS = new Set(['CALL', 'CALLI']);
const INDIRECT = new Set(['JMPI', 'CALLI']);
/** What asks for CF and for no other flag. */
const OF_CARRY = /^(INC|DEC|ADC|SBB|RCL|RCR|CMC|JN?B|SETN?B|CMOVN?B)$/;

export interface DiscoveryPorts {
  readonly view: DataView;
  readonly handlers: HandlerSet;
  /** Instructions at most, but for those of the last block. */
  readonly limit: number;
  /** The block at a place, to be part of a region; null if it is not, or not to be. */
  blockAt(place: number): Block | null;
  /** Where the jump `op` through a register or memory has led, from its page on. */
  targetsOf(op: number): readonly number[];
}

type Writable<T> = { -readonly [K in keyof T]: T[K] };

/** A block with what was found in it. */
interface Found {
  readonly block: Block;
  readonly base: number;
  readonly ops: RegionOp[];
  /** Places that branches lead to; and its last instruction, where an operand names them. */
  readonly targets: number[];
  readonly indirect: number[];
  /** The place behind it, if it goes on there; the op that it is left at. */
  next: number | null;
  op: number | null;
  /** Places at which the region has to be entered again. */
  readonly entries: number[];
  /** The place behind the call that ends it, and it ends with a return. */
  behindCall: number | null;
  isReturn: boolean;
}

export function discover(seed: Block, ports: DiscoveryPorts): Region | null {
  const found = new Map<number, Found>();
  const queue = [seed.start];
  const entries = new Set(queue);
  let instructions = 0;
  while (queue.length > 0 && found.size < NODES && instructions < ports.limit) {
    const place = queue.shift() as number;
    if (found.has(place)) continue;
    const block = place === seed.start ? seed : ports.blockAt(place);
    if (block === null) continue;
    const one = look(block, place - block.start, ports);
    if (one.ops.length === 0) continue;
    found.set(place, one);
    instructions += one.ops.length;
    for (const entry of one.entries) entries.add(entry);
    queue.push(...one.targets, ...one.indirect, ...one.entries);
    if (one.next !== null) queue.push(one.next);
  }
  if (!found.has(seed.start)) return null;
  return assemble(found, entries, ports);
}

function formAt(record: number, { view, handlers }: DiscoveryPorts): FormInfo {
  return formOfHandler(handlers, view.getUint16(record + R.OP_HANDLER, true)) as FormInfo;
}

/** Reads the op records of a block. */
function look(block: Block, base: number, ports: DiscoveryPorts): Found {
  const { view } = ports;
  const one: Found = {
    block,
    base,
    ops: [],
    targets: [],
    indirect: [],
    next: null,
    op: null,
    entries: [],
    behindCall: null,
    isReturn: false,
  };
  const count = block.count - 1;
  for (let i = 0; i < count; i++) {
    const record = block.record + i * R.OP_SIZE;
    const info = formAt(record, ports);
    const behind = base + view.getUint16(record + R.OP_NEXT, true);
    if (!isCompilable(info)) {
      one.op = record;
      one.entries.push(behind);
      return one;
    }
    one.ops.push({ record, info, next: behind });
    const { kind } = info.form.operands.at(-1) ?? {};
    if (kind === 'j') one.targets.push(base + view.getInt32(record + R.OP_DISPLACEMENT, true));
    if (CALLS.has(info.form.mnemonic)) one.entries.push(behind);
    if (CALLS.has(info.form.mnemonic)) one.behindCall = behind;
    if (INDIRECT.has(info.form.mnemonic))
      one.indirect.push(...ports.targetsOf(record).map((distance) => base + distance));
    if (info.form.mnemonic === 'RET') one.isReturn = true;
    if (info.description.ends === true) return one;
  }
  one.next = base + view.getUint16(block.record + count * R.OP_SIZE + R.OP_NEXT, true);
  return one;
}

/** A block up to where another one of the region begins. */
interface Part extends Pick<RegionNode, 'ops' | 'end' | 'targets'> {
  /** Places in the region where it may go on. */
  readonly successors: readonly number[];
}

/** Cuts blocks where others begin, and makes a graph of what the entries lead to. */
function assemble(
  found: ReadonlyMap<number, Found>,
  entries: ReadonlySet<number>,
  ports: DiscoveryPorts,
): Region {
  const returns = [...found.values()]
    .filter(({ targets, indirect, behindCall }) => {
      const called = indirect.length > 0 ? indirect : targets.slice(-1);
      return behindCall !== null && called.some((place) => found.has(place));
    })
    .map(({ behindCall }) => behindCall as number)
    .filter((behind) => found.has(behind))
    .slice(0, RETURNS);
  const parts = new Map([...found].map(([place, one]) => [place, partOf(one, found, returns)]));
  const places = reached(parts, entries).sort((a, b) => a - b);
  const number = new Map(places.map((place, index) => [place, index]));
  let instructions = 0;
  const nodes = places.map((place, index): Writable<RegionNode> => {
    const { block, base } = found.get(place) as Found;
    const { ops, end, targets, successors } = parts.get(place) as Part;
    instructions += ops.length;
    return {
      index,
      block,
      base,
      ops,
      end,
      targets,
      successors: successors.map((target) => number.get(target) as number),
      entry: entries.has(place),
      loops: false,
      needsCarry: needsCarry(ops),
      setsFlags: setsFlags(ops, ports),
    };
  });
  // Loops can be entered again at their heads after a deadline.
  for (const node of nodes) {
    for (const target of node.successors) if (target <= node.index) nodes[target].entry = true;
  }
  const all = nodes.map(({ index }) => index);
  for (const members of components(all, (index) => nodes[index].successors)) {
    const [first] = members;
    const loops = members.length > 1 || nodes[first].successors.includes(first);
    for (const index of members) nodes[index].loops = loops;
  }
  const byPlace = new Map(places.map((place, index) => [place, nodes[index]]));
  return { nodes, byPlace, instructions };
}

/**
 * The places that entries lead to. Others can have been found: where a block is cut whose jump has
 * led further than that of the block which goes on for it. Nothing says how one would be entered.
 */
function reached(parts: ReadonlyMap<number, Part>, entries: ReadonlySet<number>): number[] {
  const known = new Set([...entries].filter((place) => parts.has(place)));
  for (const place of known) {
    for (const next of (parts.get(place) as Part).successors) known.add(next);
  }
  return [...known];
}

function partOf(one: Found, found: ReadonlyMap<number, Found>, returns: readonly number[]): Part {
  const { ops, end } = cut(one, found);
  const jumps = one.targets.slice(0, ops.filter(({ info }) => branches(info)).length);
  const next = end !== null && 'next' in end ? [end.next] : [];
  const last = one.isReturn ? returns : one.indirect.filter((place) => found.has(place));
  const targets = ops.length === one.ops.length ? last : [];
  const successors = [...jumps, ...next, ...targets].filter((place) => found.has(place));
  return { ops, end, targets, successors: [...new Set(successors)] };
}

function branches(info: FormInfo): boolean {
  return info.form.operands.at(-1)?.kind === 'j';
}

/** The ops of a block up to where another one begins. */
function cut(one: Found, found: ReadonlyMap<number, Found>): Pick<RegionNode, 'ops' | 'end'> {
  const { ops, next, op, block, base } = one;
  let place = base + block.start;
  for (const [i, each] of ops.entries()) {
    if (i > 0 && found.has(place)) return { ops: ops.slice(0, i), end: { next: place } };
    place = each.next;
  }
  if (op !== null) return { ops, end: { op } };
  return { ops, end: next === null ? null : { next } };
}

/** Whether the first flag that the ops ask for, before all are set, is CF. */
function needsCarry(ops: readonly RegionOp[]): boolean {
  for (const { info } of ops) {
    const { readsFlags, writesFlags } = effectsOf(info);
    if (readsFlags && OF_CARRY.test(info.form.mnemonic)) return true;
    if (readsFlags || writesFlags) return false;
  }
  return false;
}

/** Whether the ops set all flags before one of them may leave the region or ask for a flag. */
function setsFlags(ops: readonly RegionOp[], { view }: DiscoveryPorts): boolean {
  for (const { info, record } of ops) {
    const { readsFlags, writesFlags, observes, needsCount } = effectsOf(info);
    if (readsFlags || observes) return false;
    const count = view.getInt32(record + R.OP_IMMEDIATE, true) & 31;
    if (writesFlags && (!needsCount || count !== 0)) return true;
  }
  return false;
}
