/**
 * Functions of the core module that descriptions call: address computation off the common path,
 * memory that the TLB does not know, and RFLAGS as an image.
 */
import * as L from '../cpu/layout.js';
import { FlagEmitter } from '../isa/flag-emitter.js';
import * as R from '../isa/op-record.js';
import { segmentSuspect } from '../isa/segment-suspect.js';
import { READ, WRITE } from '../mmu/walk.js';
import { CodeEmitter, type Value } from '../wasm/code.js';
import type { FunctionBody } from '../wasm/module.js';

/** `addressSlow(op, bytes, write)`: an address with segment, masks and checks. */
export function addressBody(cpuBase: number, checkSegment: number): FunctionBody {
  const code = new CodeEmitter(['i32', 'i32', 'i32']);
  const cpu = code.globalGet(cpuBase);
  const x = new FlagEmitter(code, cpu);
  const op = code.param(0);
  const register = (field: number): Value =>
    code.load('i64.load', x.add(cpu, code.load('i32.load16_u', op, field)));
  const scale = code.load('i64.load8_u', op, R.OP_SCALE);
  const displacement = code.load('i64.load', op, R.OP_DISPLACEMENT);
  const sum = x.add(x.add(register(R.OP_BASE), displacement), x.shl(register(R.OP_INDEX), scale));
  const address = code.variable(sum);
  const kind = code.load('i32.load8_u', op, R.OP_EA);
  const cut = (bit: number, size: number): void =>
    x.if(x.and(kind, x.i32(bit)), () => code.set(address, x.zeroExtend(address, size)));
  cut(R.EA_32, 32);
  cut(R.EA_16, 16);
  x.if(x.and(kind, x.i32(R.EA_CHECKED)), () => {
    const segment = code.load('i32.load16_u', op, R.OP_SEGMENT);
    const bytes = code.op('i64.extend_i32_u', code.param(1));
    x.if(segmentSuspect(x, cpu, segment, address, bytes), () => {
      code.store('i64.store', cpu, address, L.ARG0);
      const faulted = code.call(checkSegment, 'i32', segment, code.param(1), code.param(2));
      x.if(faulted, () => code.return(address));
    });
  });
  code.set(address, x.add(address, register(R.OP_SEGMENT)));
  cut(R.EA_LINEAR_32, 32);
  code.return(address);
  code.unreachable();
  return code.finish();
}

/** What a slow path does first: `reach` of `mmu/fast-walk.ts` for the address in ARG0. */
function reached(code: CodeEmitter, cpu: Value, reach: number, access: number): Value {
  const address = code.load('i64.load', cpu, L.ARG0);
  return code.call(reach, 'i32', cpu, address, code.i32(access), code.param(0));
}

/** Ends with `slow`, whose data is in BOUNCE. */
function bounced(code: CodeEmitter, cpu: Value, slow: number): FunctionBody {
  const faulted = code.call(slow, 'i32', code.param(0));
  code.if(faulted, () => code.return(code.i32(0)));
  code.return(code.op('i32.add', cpu, code.i32(L.BOUNCE)));
  code.unreachable();
  return code.finish();
}

/** `load(bytes)`, and `prepareRmw(bytes)`: finds memory, or has `slow` fetch it to BOUNCE. */
export function findBody(
  cpuBase: number,
  reach: number,
  slow: number,
  isWrite: boolean,
): FunctionBody {
  const code = new CodeEmitter(['i32']);
  const cpu = code.globalGet(cpuBase);
  const host = reached(code, cpu, reach, isWrite ? WRITE : READ);
  code.if(host, () => code.return(host));
  return bounced(code, cpu, slow);
}

/** Sizes of accesses that are stored at once. */
const STORES = [
  [8, 'i64.load', 'i64.store'],
  [4, 'i32.load', 'i32.store'],
  [1, 'i32.load8_u', 'i32.store8'],
  [2, 'i32.load16_u', 'i32.store16'],
  [16, 'v128.load', 'v128.store'],
] as const;

/** `store(bytes)`: stores what is in BOUNCE. */
export function storeBody(cpuBase: number, reach: number, slow: number): FunctionBody {
  const code = new CodeEmitter(['i32']);
  const cpu = code.globalGet(cpuBase);
  const host = reached(code, cpu, reach, WRITE);
  code.if(host, () => {
    for (const [bytes, load, store] of STORES) {
      code.if(code.op('i32.eq', code.param(0), code.i32(bytes)), () => {
        code.store(store, host, code.load(load, cpu, L.BOUNCE));
        code.return(host);
      });
    }
    code.memoryCopy(host, code.op('i32.add', cpu, code.i32(L.BOUNCE)), code.param(0));
    code.return(host);
  });
  return bounced(code, cpu, slow);
}

/** `eflags()`: RFLAGS with the lazy status flags worked out. */
export function eflagsBody(cpuBase: number): FunctionBody {
  const code = new CodeEmitter([]);
  const x = new FlagEmitter(code, code.globalGet(cpuBase));
  code.return(x.or(x.state32(L.EFLAGS), x.statusImage()));
  code.unreachable();
  return code.finish();
}

/** `setStatus(image, mask)`: takes the status flags under `mask` from an RFLAGS image. */
export function setStatusBody(cpuBase: number, eflags: number): FunctionBody {
  const code = new CodeEmitter(['i32', 'i32']);
  const x = new FlagEmitter(code, code.globalGet(cpuBase));
  const old = code.call(eflags, 'i32');
  const mask = code.param(1);
  const image = x.or(x.andNot(old, mask), x.and(code.param(0), mask));
  x.setFlagsOf(image);
  return code.finish();
}
