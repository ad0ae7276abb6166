/**
 * Events of the GHCB by which a guest reaches devices: IN, OUT, INS, OUTS and MMIO (GHCB
 * specification 56421, 4.1.3 "IOIO", 4.1.5 "MMIO access"). Devices see what an unprotected guest's
 * access would be.
 */
import { GHCB_ERROR, IOIO, NAE } from '../abi/ghcb.js';
import { EXIT } from '../abi/vmcb.js';
import { type Exchange, endWith, type GhcbEvent, refuse } from './exchange.js';
import type { Next } from './hypervisor.js';
import { SCRATCH_LIMIT } from './scratch-area.js';

const NOTHING = [] as const;
const RAX = ['RAX'] as const;
const SCRATCH = ['SW_SCRATCH'] as const;
/** One bit for each size; what the lowest is shifted by, they are the sizes in bytes. */
const SIZE_BITS = IOIO.SIZE_8 | IOIO.SIZE_16 | IOIO.SIZE_32;
const SIZE_SHIFT = 4;
/** An exit holds so many bytes of a string at most, as that of an unprotected guest's. */
const EXIT_BYTES = 4096;
/** Bytes of the widest access that a device sees. */
const MMIO_WIDTH = 8;
/** An access of MMIO takes as long as so many times its bytes of string I/O. */
const MMIO_WEIGHT = 8;
/** Guest-physical addresses have 52 bits at most. */
const ADDRESS_END = 2 ** 52;

/** The item of IN and OUT, and the bytes that a device gets of it, by their number. */
const item = new Uint32Array(1);
const itemBytes = [0, 1, 2, 3, 4].map((size) => new Uint8Array(item.buffer, 0, size));

const isString = (info1: number) => (info1 & IOIO.STRING) !== 0;
const isIn = (info1: number) => (info1 & IOIO.IN) !== 0;

const ioio: GhcbEvent = {
  since: 1,
  required: NOTHING,
  requiredAlso({ ghcb }) {
    const info1 = ghcb.lo('SW_EXITINFO1');
    if (isString(info1)) return SCRATCH;
    return isIn(info1) ? NOTHING : RAX;
  },
  returns: ['RAX'],
  answer(exchange) {
    const { ghcb, settings } = exchange;
    const info1 = ghcb.lo('SW_EXITINFO1');
    const size = (info1 & SIZE_BITS) >>> SIZE_SHIFT;
    if ((size !== 1 && size !== 2 && size !== 4) || ghcb.hi('SW_EXITINFO1') !== 0) {
      return refuse(exchange, GHCB_ERROR.INVALID_INPUT);
    }
    if (!isString(info1)) return single(exchange, info1, size);
    if (settings.profile.stringIo) return string(exchange, info1, size);
    return endWith(exchange.vcpu, 'string-io', `${settings.profile.title} knows no INS and OUTS`);
  },
};

/** IN and OUT. */
function single({ vcpu, ghcb }: Exchange, info1: number, size: number): Next {
  const data = itemBytes[size]!;
  const port = info1 >>> 16;
  if (isIn(info1)) {
    item[0] = -1;
    vcpu.host.io('in', port, size, 1, data);
    ghcb.set('RAX', item[0]! & (-1 >>> (32 - 8 * size)));
  } else {
    item[0] = ghcb.lo('RAX');
    vcpu.host.io('out', port, size, 1, data);
  }
  ghcb.done();
  return 'run';
}

/** INS and OUTS, with REP or without: SW_EXITINFO2 items of the scratch area. */
function string(exchange: Exchange, info1: number, size: number): Next {
  const { vcpu, ghcb, scratch } = exchange;
  const count = ghcb.number('SW_EXITINFO2');
  if (count > SCRATCH_LIMIT) return refuse(exchange, GHCB_ERROR.INVALID_SCRATCH_AREA);
  const data = scratch.open(ghcb, vcpu.memory, count * size);
  if (data === null) return refuse(exchange, GHCB_ERROR.INVALID_SCRATCH_AREA);
  exchange.moved += data.length;
  const port = info1 >>> 16;
  const direction = isIn(info1) ? 'in' : 'out';
  for (let at = 0; at < data.length; at += EXIT_BYTES) {
    const part = data.subarray(at, at + EXIT_BYTES);
    vcpu.host.io(direction, port, size, part.length / size, part);
  }
  if (data.length > 0 && direction === 'in') scratch.publish(vcpu.memory);
  ghcb.done();
  return 'run';
}

/** SW_EXITINFO1 is the address, SW_EXITINFO2 the number of bytes of the scratch area. */
const mmio = (direction: 'read' | 'write'): GhcbEvent => ({
  since: 1,
  required: ['SW_SCRATCH'],
  returns: NOTHING,
  answer(exchange) {
    const { vcpu, ghcb, scratch } = exchange;
    const gpa = ghcb.number('SW_EXITINFO1');
    const length = ghcb.number('SW_EXITINFO2');
    if (length === 0 || gpa + length > ADDRESS_END) {
      return refuse(exchange, GHCB_ERROR.INVALID_INPUT);
    }
    const data = scratch.open(ghcb, vcpu.memory, length);
    if (data === null) return refuse(exchange, GHCB_ERROR.INVALID_SCRATCH_AREA);
    if (direction === 'read') data.fill(0xff);
    exchange.moved += MMIO_WEIGHT * length;
    // More than a register holds is as many accesses as it takes, as Linux/KVM does it.
    for (let at = 0; at < length; at += MMIO_WIDTH) {
      vcpu.host.mmio(direction, gpa + at, data.subarray(at, at + MMIO_WIDTH));
    }
    if (direction === 'read') scratch.publish(vcpu.memory);
    ghcb.done();
    return 'run';
  },
});

export const DEVICE_EVENTS: readonly (readonly [number, GhcbEvent])[] = [
  [EXIT.IOIO, ioio],
  [NAE.MMIO_READ, mmio('read')],
  [NAE.MMIO_WRITE, mmio('write')],
];
