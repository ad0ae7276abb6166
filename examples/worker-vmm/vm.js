// A VM module: what a VM is made of, from plain options. In a Worker that runInWorker started it
// serves the VM; imported elsewhere it only exports the function.
import { emulated } from '@cloister/backend-emu';
import { createVm } from '@cloister/core';
import { boot, flat } from '@cloister/core/boot';
import { pc, serial } from '@cloister/core/devices';
import { serveVm } from '@cloister/core/worker';

export default serveVm(({ image, memory = '1M', seed = 1 }) =>
  createVm({ memory, seed })
    .use(emulated(), pc(), serial(), boot(flat({ image })))
    .build(),
);
