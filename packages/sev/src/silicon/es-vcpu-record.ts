/**
 * What a host keeps of one vCPU of an SEV-ES guest when it saves a VM: the fields of the VMCB that
 * outlast an exit, and where the vCPU stands. No register is among them; those are in the VMSA,
 * which only the firmware sends.
 */
import { type SnapshotValue, VmmError } from '@cloister/core';
import { EVENT_TYPE, encodeEvent, type InjectedEvent, VMCB, type Vmcb } from '../abi/vmcb.js';

export interface EsVcpuRecord {
  /** Whether the hypervisor has set it up: not before its first entry. */
  readonly initialized: boolean;
  readonly halted: boolean;
  readonly told: boolean;
  /** The GHCB MSR: a GHCB's address, a request or its answer, halves. */
  readonly ghcb: readonly [number, number];
  /** INTERRUPT_SHADOW of the VMCB. */
  readonly interruptState: number;
  /** Whether a window for interrupts is asked for. */
  readonly window: boolean;
  /** EVENTINJ and EXITINTINFO. */
  readonly event: InjectedEvent | null;
  readonly interrupted: InjectedEvent | null;
  /** EXITCODE, EXITINFO1 and EXITINFO2, halves of the latter two. */
  readonly exit: readonly [number, number, number, number, number];
}

type Flags = Pick<EsVcpuRecord, 'initialized' | 'halted' | 'told'>;

const EXIT_WORDS = [
  VMCB.EXITCODE,
  ...[VMCB.EXITINFO1, VMCB.EXITINFO1 + 4, VMCB.EXITINFO2, VMCB.EXITINFO2 + 4],
] as const;

export function saveEsVcpu(vmcb: Vmcb, flags: Flags): SnapshotValue {
  const { initialized, halted, told } = flags;
  const event = (each: InjectedEvent | null) => (each === null ? null : { ...each });
  return {
    ...{ initialized, halted, told },
    ghcb: [vmcb.get(VMCB.GHCB_GPA), vmcb.get(VMCB.GHCB_GPA + 4)],
    interruptState: vmcb.get(VMCB.INTERRUPT_SHADOW),
    window: vmcb.interruptWindow,
    event: event(vmcb.event),
    interrupted: event(vmcb.interruptedEvent),
    exit: EXIT_WORDS.map((at) => vmcb.get(at)),
  };
}

/** Puts the fields of a record into a VMCB that the hypervisor has set up. */
export function loadEsVcpu(vmcb: Vmcb, record: EsVcpuRecord): void {
  const { ghcb, interruptState, window, event, interrupted, exit } = record;
  vmcb.setPair(VMCB.GHCB_GPA, ...ghcb);
  vmcb.set(VMCB.INTERRUPT_SHADOW, interruptState);
  vmcb.interruptWindow = window;
  vmcb.event = event;
  if (interrupted === null) vmcb.setPair(VMCB.EXITINTINFO, 0, 0);
  else vmcb.setPair(VMCB.EXITINTINFO, encodeEvent(interrupted), interrupted.errorCode ?? 0);
  vmcb.setExit(...exit);
}

/** The record of what was saved; `VmmError('snapshot-mismatch')` for anything else. */
export function readEsVcpu(saved: unknown): EsVcpuRecord {
  if (isRecord(saved)) return saved;
  throw new VmmError('snapshot-mismatch', 'the saved state of a CPU of the guest is damaged');
}

function isRecord(saved: unknown): saved is EsVcpuRecord {
  if (typeof saved !== 'object' || saved === null) return false;
  const { initialized, halted, told, window, interruptState, ...rest } = saved as EsVcpuRecord;
  return (
    [initialized, halted, told, window].every((flag) => typeof flag === 'boolean') &&
    isWord(interruptState) &&
    areWords(rest.ghcb, 2) &&
    areWords(rest.exit, EXIT_WORDS.length) &&
    isEvent(rest.event) &&
    isEvent(rest.interrupted)
  );
}

const isWord = (value: unknown): boolean =>
  Number.isInteger(value) && (value as number) >= 0 && (value as number) < 2 ** 32;

const areWords = (list: unknown, count: number): boolean =>
  Array.isArray(list) && list.length === count && list.every(isWord);

const TYPES: readonly number[] = Object.values(EVENT_TYPE);
const NMI_VECTOR = 2;
const EXCEPTIONS = 32;

/** An event that VMRUN takes. */
function isEvent(event: unknown): boolean {
  if (event === null) return true;
  if (typeof event !== 'object') return false;
  const { vector, type, errorCode } = event as InjectedEvent;
  const most =
    type === EVENT_TYPE.EXCEPTION ? EXCEPTIONS - 1 : type === EVENT_TYPE.NMI ? NMI_VECTOR : 0xff;
  return (
    TYPES.includes(type) &&
    isWord(vector) &&
    vector <= most &&
    (type !== EVENT_TYPE.NMI || vector === NMI_VECTOR) &&
    (errorCode === null || isWord(errorCode))
  );
}
