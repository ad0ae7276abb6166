// A VM module for the tests of Workers: its VM spins, and its host side fails in the way that the
// options name.
import { emulated } from '@cloister/backend-emu';
import { createVm } from '@cloister/core';
import { boot, flat } from '@cloister/core/boot';
import { serveVm } from '@cloister/core/worker';

/** `out 0x80, al` for ever. */
const IMAGE = Uint8Array.of(0xe6, 0x80, 0xeb, 0xfc);

const HOW = {
  throw() {
    setTimeout(() => {
      throw new Error('thrown by a timer');
    });
  },
  reject() {
    void Promise.reject(new Error('rejected by nobody'));
  },
  exit() {
    process.exit(7);
  },
  hang(hanging) {
    Atomics.store(hanging, 0, 1);
    Atomics.notify(hanging, 0);
    for (;;);
  },
};

export default serveVm(({ how, hanging, memory = '1M' }) =>
  createVm({ memory, seed: 1 })
    .use(emulated(), boot(flat({ image: IMAGE })), {
      name: 'misbehaving',
      version: '1.0.0',
      api: 1,
      setup(context) {
        context.addExitHandler({
          name: 'misbehaving',
          filter: { kind: 'io', ports: { base: 0x80, length: 1 } },
          handle() {
            HOW[how]?.(hanging);
            how = 'done';
            return 'handled';
          },
        });
      },
    })
    .build(),
);
