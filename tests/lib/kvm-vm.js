// A VM module whose guest spins for ever on KVM, in real mode; on every CPU if there are several.
import { kvm } from '@cloister/backend-kvm';
import { createVm } from '@cloister/core';
import { boot, flat } from '@cloister/core/boot';
import { serveVm } from '@cloister/core/worker';
import { smpImage } from './smp-image.js';

/** jmp to itself */
const SPIN = Uint8Array.of(0xeb, 0xfe);

export default serveVm(({ memory = '1M', cpus = 1 }) =>
  createVm({ memory, cpus })
    .use(kvm(), boot(flat({ image: cpus > 1 ? smpImage() : SPIN })))
    .build(),
);
