// A VM module whose guest spins for ever on KVM, in real mode.
import { kvm } from '@cloister/backend-kvm';
import { createVm } from '@cloister/core';
import { boot, flat } from '@cloister/core/boot';
import { serveVm } from '@cloister/core/worker';

/** jmp to itself */
const SPIN = Uint8Array.of(0xeb, 0xfe);

export default serveVm(({ memory = '1M' }) =>
  createVm({ memory })
    .use(kvm(), boot(flat({ image: SPIN })))
    .build(),
);
