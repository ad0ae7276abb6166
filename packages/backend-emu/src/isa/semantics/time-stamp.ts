/**
 * RDTSC and RDTSCP. Where time is counted by instructions emitted code knows it; with the host's
 * clock, where an extension intercepts them, and where CR4.TSD asks for the privilege, they are
 * system functions.
 *
 * Source: AMD APM vol. 3, RDTSC, RDTSCP; vol. 2, 13.2.4.
 */
import type { InterceptName } from '@cloister/core';
import { interceptBit } from '../../cpu/intercept-bits.js';
import * as L from '../../cpu/layout.js';
import { CR4_TSD } from '../../cpu/registers.js';
import { define } from '../define.js';
import type { Emitter } from '../emitter.js';

function readTimeStamp(x: Emitter, event: InterceptName, result: () => void): void {
  const restricted = x.and(x.state32(L.CR4), x.i32(CR4_TSD));
  const asked = x.and(x.state32(L.INTERCEPTED), x.i32(interceptBit(event)));
  const free = x.and(x.state32(L.TIME_COUNTED), x.eqz(x.or(restricted, asked)));
  x.if(
    free,
    () => {
      const time = x.add(x.executed(), x.state64(L.TIME_EPOCH));
      const value = x.add(time, x.state64(L.TSC_OFFSET));
      x.setGpr(0, x.zeroExtend(value, 32));
      x.setGpr(2, x.shrU(value, x.i64(32)));
      result();
    },
    () => x.system(event, []),
  );
}

define('RDTSC', {}, (x) => readTimeStamp(x, 'rdtsc', () => {}));
define('RDTSCP', {}, (x) =>
  readTimeStamp(x, 'rdtscp', () => x.setGpr(1, x.stateAs('i64.load32_u', L.TSC_AUX))),
);
