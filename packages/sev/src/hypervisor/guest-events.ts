/**
 * Events of the GHCB that are no instruction: what a guest with encrypted registers and its
 * hypervisor have to tell each other (GHCB specification 56421, 4.1.6 to 4.1.14).
 *
 * The events of SEV-SNP (80000010h to 80000018h) are unknown here, as a hypervisor without SNP has
 * them.
 */
import { GHCB, GHCB_ERROR, NAE } from '../abi/ghcb.js';
import { VMCB } from '../abi/vmcb.js';
import { u64 } from '../bytes.js';
import { endWith, type GhcbEvent, hex, refuse } from './exchange.js';
import type { HostVcpu } from './hypervisor.js';
import { terminationExit, terminationOfEvent } from './termination.js';

const NOTHING = [] as const;
const JUMP_TABLE = { SET: 0, GET: 1 } as const;
const ADDRESS_END = 2 ** 52;
const PAGE = 4096;

/** The guest's NMI handler is done: the next NMI may come. */
const nmiComplete: GhcbEvent = {
  since: 1,
  required: NOTHING,
  returns: NOTHING,
  answer({ vcpu, ghcb }) {
    vcpu.nmiBlocked = false;
    ghcb.done();
    return 'run';
  },
};

/** SW_EXITINFO2 of the reply stays 0 until a SIPI ends the hold. */
const apResetHold: GhcbEvent = {
  since: 1,
  required: NOTHING,
  returns: NOTHING,
  answer({ ghcb, record }) {
    ghcb.done();
    record.hold = 'ghcb';
    record.ghcb = ghcb.gpa;
    return 'reset-hold';
  },
};

/** The reply to AP reset hold, in the GHCB at `gpa`, tells that a SIPI came. */
export function endGhcbHold({ memory }: HostVcpu, gpa: number): void {
  memory.tryWrite(gpa + GHCB.SW_EXITINFO2, u64(1));
}

const apJumpTable: GhcbEvent = {
  since: 1,
  required: NOTHING,
  returns: NOTHING,
  answer(exchange) {
    const { vm, ghcb } = exchange;
    const address = ghcb.number('SW_EXITINFO2');
    switch (ghcb.number('SW_EXITINFO1')) {
      case JUMP_TABLE.SET:
        if (address >= ADDRESS_END || address % PAGE !== 0) break;
        vm.apJumpTable = address;
        ghcb.done();
        return 'run';
      case JUMP_TABLE.GET:
        ghcb.done(vm.apJumpTable % 2 ** 32, Math.floor(vm.apJumpTable / 2 ** 32));
        return 'run';
      default:
    }
    return refuse(exchange, GHCB_ERROR.INVALID_INPUT);
  },
};

/** All features concern SNP: none. */
const hvFeatures: GhcbEvent = {
  since: 2,
  required: NOTHING,
  returns: NOTHING,
  answer({ ghcb }) {
    ghcb.done();
    return 'run';
  },
};

const terminate: GhcbEvent = {
  since: 2,
  required: NOTHING,
  returns: NOTHING,
  answer(exchange) {
    const { vcpu, ghcb } = exchange;
    exchange.terminated = terminationOfEvent(ghcb.lo('SW_EXITINFO1'));
    const data = [
      vcpu.vmcb.getAddress(VMCB.GHCB_GPA),
      ghcb.number('SW_EXITINFO1'),
      ghcb.number('SW_EXITINFO2'),
    ];
    vcpu.host.deliver(terminationExit(vcpu.index, data, exchange.terminated));
    return 'terminated';
  },
};

/** SW_EXITINFO1 is the error code of a #VC that the guest cannot handle. */
const unsupportedEvent: GhcbEvent = {
  since: 1,
  required: NOTHING,
  returns: NOTHING,
  answer({ vcpu, ghcb }) {
    const code = hex(ghcb.number('SW_EXITINFO1'));
    return endWith(vcpu, 'ghcb-unsupported-event', `the guest cannot handle its #VC ${code}`);
  },
};

export const GUEST_EVENTS: readonly (readonly [number, GhcbEvent])[] = [
  [NAE.NMI_COMPLETE, nmiComplete],
  [NAE.AP_RESET_HOLD, apResetHold],
  [NAE.AP_JUMP_TABLE, apJumpTable],
  [NAE.HV_FEATURES, hvFeatures],
  [NAE.TERMINATE, terminate],
  [NAE.UNSUPPORTED_EVENT, unsupportedEvent],
];
