// @ts-check
/**
 * An example of a plugin: a counter that the guest reaches by I/O ports and by an MSR.
 *
 * Three 32-bit registers, 4 bytes apart; other accesses than 4 aligned bytes read 0 and write
 * nothing.
 *
 *   +0 COUNT  what was counted; writing sets it
 *   +4 LIMIT  the interrupt line is high while LIMIT is not 0 and COUNT has reached it
 *   +8 TICK   writing adds the value to COUNT, modulo 2^32; reads 0
 *
 * MSR 0x434e5452 ("CNTR") is COUNT as well; its upper half is 0.
 */
import { definePlugin, VmmError } from '@cloister/core';

/** @import { Device, DeviceRegion, IrqLine, Snapshot, VmPlugin } from '@cloister/core' */

export const COUNT = 0;
export const LIMIT = 4;
export const TICK = 8;
const LENGTH = 12;

export const COUNTER_MSR = 0x434e5452;

const TYPE = 'example-counter';
const VERSION = 1;

/** The device: registers, and an interrupt line as its only effect. @implements {Device} */
export class Counter {
  name = 'counter';
  #state = { count: 0, limit: 0 };
  #line;

  /**
   * @param {number} port
   * @param {IrqLine} line
   */
  constructor(port, line) {
    /** @type {readonly DeviceRegion[]} */
    this.regions = [{ space: 'io', base: port, length: LENGTH, name: 'counter' }];
    this.#line = line;
  }

  get count() {
    return this.#state.count;
  }

  set count(value) {
    this.#state.count = value >>> 0;
    this.#update();
  }

  /**
   * @param {number} _region
   * @param {number} offset
   * @param {number} size
   */
  read(_region, offset, size) {
    if (size !== 4) return 0;
    if (offset === COUNT) return this.#state.count;
    return offset === LIMIT ? this.#state.limit : 0;
  }

  /**
   * @param {number} _region
   * @param {number} offset
   * @param {number} size
   * @param {number} value
   */
  write(_region, offset, size, value) {
    if (size !== 4) return;
    if (offset === COUNT) this.#state.count = value;
    if (offset === LIMIT) this.#state.limit = value;
    if (offset === TICK) this.#state.count = (this.#state.count + value) >>> 0;
    this.#update();
  }

  #update() {
    const { count, limit } = this.#state;
    this.#line.set(limit !== 0 && count >= limit);
  }

  drain() {
    return Promise.resolve();
  }

  reset() {
    this.#state = { count: 0, limit: 0 };
    this.#update();
  }

  /** @returns {Snapshot} */
  snapshot() {
    return { type: TYPE, version: VERSION, state: { ...this.#state } };
  }

  /** @param {Snapshot} snapshot */
  restore({ type, version, state }) {
    if (type !== TYPE || version !== VERSION || !isState(state)) {
      throw new VmmError('snapshot-mismatch', `not a counter's state: ${type} version ${version}`);
    }
    this.#state = { count: state.count, limit: state.limit };
    this.#update();
  }
}

/**
 * @param {unknown} value
 * @returns {value is { count: number, limit: number }}
 */
function isState(value) {
  if (typeof value !== 'object' || value === null) return false;
  const known = new Map(Object.entries(value));
  return known.size === 2 && isU32(known.get('count')) && isU32(known.get('limit'));
}

/** @param {unknown} value */
function isU32(value) {
  return typeof value === 'number' && value >>> 0 === value;
}

/**
 * The plugin.
 * @param {{ port?: number, gsi?: number, watch?: boolean }} [options] first port (0x560), interrupt
 *   (5), and whether to watch the stream of exits for the summary (no: it costs a copy per exit)
 * @returns {VmPlugin}
 */
export default function counter({ port = 0x560, gsi = 5, watch = false } = {}) {
  return definePlugin({
    name: 'counter',
    version: '1.0.0',
    api: 1,
    provides: ['example.counter'],
    setup(context) {
      const device = new Counter(port, context.irq(gsi));
      context.addDevice(device);

      context.addExitHandler({
        name: 'counter-msr',
        filter: { kind: 'msr', indices: { base: COUNTER_MSR, length: 1 } },
        handle(exit) {
          if (exit.direction === 'write') device.count = exit.lo;
          else [exit.lo, exit.hi] = [device.count, 0];
          exit.fault = false;
          return 'handled';
        },
      });

      let seen = 0;
      if (watch) {
        const subscription = context.events.exits.subscribe((exit) => {
          if (exit.kind === 'msr' && exit.index === COUNTER_MSR) seen += 1;
          if (exit.kind === 'io' && exit.port >= port && exit.port < port + LENGTH) seen += 1;
        });
        context.onDispose(() => subscription.unsubscribe());
      }

      context.addSummary(() => [
        ['counter', `${device.count}`],
        ...(watch ? /** @type {const} */ ([['counter exits', `${seen}`]]) : []),
      ]);
    },
  });
}
