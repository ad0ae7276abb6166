/**
 * What the answers to VMGEXIT work with: one CPU, its GHCB, and the hypervisor's memory of both.
 */
import type { ErrorExit, WorldSwitchSink } from '@cloister/core';
import { GHCB_ERROR, type GhcbError, type GhcbField } from '../abi/ghcb.js';
import type { GhcbPage } from './ghcb-page.js';
import type { HostVcpu, Next } from './hypervisor.js';
import type { HostProfile } from './profile.js';
import type { VcpuRecord, VmRecord } from './records.js';
import type { ScratchArea } from './scratch-area.js';
import type { Statistics } from './statistics.js';
import type { Termination } from './termination.js';

export interface HypervisorSettings {
  readonly profile: HostProfile;
  /** Where the C-bit is: what SEV_INFO tells. */
  readonly cBit: number;
  /** Takes what guests ask. */
  readonly switches?: WorldSwitchSink | undefined;
}

export interface Exchange {
  vcpu: HostVcpu;
  /** Of this CPU. */
  record: VcpuRecord;
  vm: VmRecord;
  readonly settings: HypervisorSettings;
  readonly ghcb: GhcbPage;
  readonly scratch: ScratchArea;
  readonly statistics: Statistics;
  /** Bytes moved to and from devices since the host had its turn; MMIO counts for more. */
  moved: number;
  /** The guest gave up. */
  terminated: Termination | null;
}

/** What answers one kind of event. */
export interface GhcbEvent {
  /** Version of the protocol that it came with. */
  readonly since: 1 | 2;
  /** Fields without which it means nothing, beside SW_EXITCODE and SW_EXITINFO1 and 2. */
  readonly required: readonly GhcbField[];
  /** More of them, by what the event is about. */
  requiredAlso?(exchange: Exchange): readonly GhcbField[];
  /** Fields that the reply fills in. */
  readonly returns: readonly GhcbField[];
  /** Acts and sets the reply. */
  answer(exchange: Exchange): Next;
}

/** The guest's request is malformed: a reply that says so, or the end. */
export function refuse(exchange: Exchange, error: GhcbError): Next {
  const { profile } = exchange.settings;
  if (profile.malformed !== 'reply') {
    const why = `${profile.title}: malformed GHCB (${ERROR_WORDS[error]}, ${profile.malformed})`;
    return endWith(exchange.vcpu, 'ghcb-malformed', why);
  }
  exchange.ghcb.refuse(error);
  return 'run';
}

const ERROR_WORDS: Readonly<Record<GhcbError, string>> = {
  [GHCB_ERROR.NOT_REGISTERED]: 'not registered',
  [GHCB_ERROR.INVALID_USAGE]: 'unknown usage',
  [GHCB_ERROR.INVALID_SCRATCH_AREA]: 'bad scratch area',
  [GHCB_ERROR.MISSING_INPUT]: 'missing input',
  [GHCB_ERROR.INVALID_INPUT]: 'invalid input',
  [GHCB_ERROR.INVALID_EVENT]: 'unknown event',
};

/** The host gives up on the guest. */
export function endWith(vcpu: HostVcpu, code: string, message: string): Next {
  const exit: ErrorExit = {
    kind: 'error',
    vcpu: vcpu.index,
    instructions: -1,
    code,
    message,
    bytes: new Uint8Array(0),
  };
  vcpu.host.deliver(exit);
  return 'terminated';
}

export const hex = (value: number): string => `${value.toString(16).toUpperCase()}h`;
