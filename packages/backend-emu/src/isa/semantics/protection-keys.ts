/**
 * RDPKRU, which Linux executes whenever it changes tasks. What refuses it is a system function.
 *
 * Source: AMD APM vol. 3, RDPKRU.
 */
import * as L from '../../cpu/layout.js';
import { CR4_PKE } from '../../cpu/registers.js';
import { define } from '../define.js';

const RAX = 0;
const RCX = 1;
const RDX = 2;

define('RDPKRU', {}, (x) => {
  const enabled = x.ne(x.and(x.state32(L.CR4), x.i32(CR4_PKE)), x.i32(0));
  x.if(
    x.and(enabled, x.eqz(x.wrap(x.gpr(RCX)))),
    () => {
      x.setGpr(RAX, x.stateAs('i64.load32_u', L.PKRU));
      x.setGpr(RDX, x.i64(0));
    },
    () => x.system('rdpkru', []),
  );
});
