/**
 * The emulated secure processor: takes commands, checks what every command must have, runs them.
 *
 * It speaks the firmware's API before SNP. Checks come in one order for every command: platform
 * state, guest handle, guest state, then the command's own; firmware of AMD's makes some argument
 * checks of LAUNCH_UPDATE_VMSA, LAUNCH_SECRET and the debug commands earlier. The policy's minimum
 * API is checked with and without a session; AMD's firmware does so with one only. A command ends
 * within the call.
 *
 * Known inaccuracies: what the trusted memory region holds of VMSAs is beside it
 * (`vmsa-records.ts`); no command takes a time.
 *
 * Source: SEV API 55766; where it leaves the order of checks or the status open, AMD's published
 * firmware source for EPYC 9004 (github.com/amd/AMD-ASPFW).
 */
import {
  BUFFERS,
  bufferSize,
  type CommandName,
  commandName,
  type GuestStateName,
  type PlatformStateName,
} from '../abi/commands.js';
import { STATUS, type Status } from '../abi/status.js';
import { decode, type Struct, update } from '../abi/struct.js';
import type { FirmwareVersion } from '../measure/launch-measure.js';
import { type AsidLimits, AsidTable, type CoreLayout } from './asids.js';
import { type Entropy, freshEntropy } from './entropy.js';
import * as guests from './guest-commands.js';
import * as launch from './launch-commands.js';
import type { PlatformMemory } from './memory-port.js';
import * as migration from './migration-commands.js';
import { memoryStore, type Store } from './persistent.js';
import { type Guest, guestState, type Hardware, mayTouch, type Platform } from './platform.js';
import * as platforms from './platform-commands.js';
import type { ChipIdentity } from './root.js';
import {
  GUEST_STATES,
  type GuestCommand,
  type LiveGuestState,
  NEXT_GUEST_STATE,
  PLATFORM_STATES,
} from './states.js';

type Run = (platform: Platform, buffer: never, guest: never) => Status;

/** What happens to the command buffer. */
type Direction = 'none' | 'in' | 'out' | 'in-out' | 'in-out-length';

/** `in-out-length` writes back the lengths that a command asks for even when it fails for one. */
const COMMANDS: Readonly<Record<CommandName, readonly [Direction, Run]>> = {
  INIT: ['in', platforms.init],
  SHUTDOWN: ['none', platforms.shutdown],
  PLATFORM_RESET: ['none', platforms.platformReset],
  PLATFORM_STATUS: ['out', platforms.platformStatus],
  PEK_GEN: ['none', platforms.pekGen],
  PEK_CSR: ['in-out-length', platforms.pekCsr],
  PEK_CERT_IMPORT: ['in', platforms.pekCertImport],
  PDH_CERT_EXPORT: ['in-out-length', platforms.pdhCertExport],
  PDH_GEN: ['none', platforms.pdhGen],
  DF_FLUSH: ['none', platforms.dfFlush],
  DOWNLOAD_FIRMWARE: ['in', platforms.downloadFirmware],
  GET_ID: ['in-out-length', platforms.getId],
  INIT_EX: ['in', platforms.initEx],
  NOP: ['none', platforms.nop],
  DECOMMISSION: ['in', guests.decommission],
  ACTIVATE: ['in', guests.activate],
  DEACTIVATE: ['in', guests.deactivate],
  GUEST_STATUS: ['in-out', guests.guestStatus],
  COPY: ['in', guests.copy],
  ACTIVATE_EX: ['in', guests.activateEx],
  LAUNCH_START: ['in-out', launch.launchStart],
  LAUNCH_UPDATE_DATA: ['in', launch.launchUpdateData],
  LAUNCH_UPDATE_VMSA: ['in', launch.launchUpdateVmsa],
  LAUNCH_MEASURE: ['in-out-length', launch.launchMeasureCommand],
  LAUNCH_SECRET: ['in', launch.launchSecret],
  LAUNCH_FINISH: ['in', launch.launchFinish],
  ATTESTATION: ['in-out-length', launch.attestation],
  SEND_START: ['in-out-length', migration.sendStart],
  SEND_UPDATE_DATA: ['in-out-length', migration.sendUpdateData],
  SEND_UPDATE_VMSA: ['in-out-length', migration.sendUpdateVmsa],
  SEND_FINISH: ['in', migration.sendEnd],
  SEND_CANCEL: ['in', migration.sendEnd],
  RECEIVE_START: ['in-out', migration.receiveStart],
  RECEIVE_UPDATE_DATA: ['in', migration.receiveUpdateData],
  RECEIVE_UPDATE_VMSA: ['in', migration.receiveUpdateVmsa],
  RECEIVE_FINISH: ['in', migration.receiveFinish],
  DBG_DECRYPT: ['in', guests.dbgDecrypt],
  DBG_ENCRYPT: ['in', guests.dbgEncrypt],
};

/** What a secure processor is made of. Everything but memory and chip has a default. */
export interface SecureProcessorParts {
  readonly memory: PlatformMemory;
  readonly chip: ChipIdentity;
  readonly entropy?: Entropy;
  /** Persistent storage; without it what INIT makes lasts as long as this object. */
  readonly flash?: Store;
  readonly version?: FirmwareVersion;
  readonly asids?: AsidLimits;
  readonly cores?: CoreLayout;
  readonly guestsMax?: number;
  readonly hardware?: Hardware;
}

export const DEFAULT_VERSION: FirmwareVersion = { major: 1, minor: 55, build: 1 };
/** As an EPYC 7003 has them. */
export const DEFAULT_ASIDS: AsidLimits = { max: 509, minNoEs: 100 };
const DEFAULT_CORES: CoreLayout = { cores: 1, coresPerComplex: 8 };
const GUESTS_MAX = 1024;
const SOUND: Hardware = { encryptionEnabled: () => true, coresAnswer: () => true };

export class SecureProcessor {
  readonly #platform: Platform;

  constructor(parts: SecureProcessorParts) {
    const flash = parts.flash ?? memoryStore();
    this.#platform = {
      memory: parts.memory,
      chip: parts.chip,
      entropy: parts.entropy ?? freshEntropy,
      hardware: parts.hardware ?? SOUND,
      asids: new AsidTable(parts.asids ?? DEFAULT_ASIDS, parts.cores ?? DEFAULT_CORES),
      flash,
      guestsMax: parts.guestsMax ?? GUESTS_MAX,
      version: parts.version ?? DEFAULT_VERSION,
      state: 'UNINIT',
      es: false,
      tmr: null,
      store: flash,
      keys: null,
      guests: new Map(),
    };
  }

  get state(): PlatformStateName {
    return this.#platform.state;
  }

  /** UNINIT for a handle that is no guest's. */
  guestState(handle: number): GuestStateName {
    return guestState(this.#platform, handle);
  }

  /** A core has executed WBINVD, which the firmware learns from the processor; all without one. */
  wbinvd(core?: number): void {
    this.#platform.asids.wbinvd(core);
  }

  /**
   * Whether the cores may enter a guest under this ASID: its guest is active and fully launched.
   * VMRUN fails otherwise.
   */
  mayRun(asid: number): boolean {
    for (const guest of this.#platform.guests.values()) {
      if (guest.asid === asid && asid !== 0) {
        return guest.state === 'RUNNING' || guest.state === 'SUPDATE';
      }
    }
    return false;
  }

  /** Runs command `id`, whose buffer lies at system-physical address `spa`. */
  command(id: number, spa: number): Status {
    const name = commandName(id);
    if (name === undefined) return STATUS.INVALID_COMMAND;
    const [direction, run] = COMMANDS[name];
    if (direction === 'none') return this.#run(name, run, {});
    const type: Struct = BUFFERS[name as keyof typeof BUFFERS];
    const size = bufferSize(name);
    if (!mayTouch(this.#platform, spa, size)) return STATUS.INVALID_ADDRESS;
    const bytes = new Uint8Array(size);
    if (direction !== 'out') this.#platform.memory.read(spa, bytes, 0);
    const before = decode(type, bytes);
    const values = { ...before };
    const status = this.#run(name, run, values);
    const lengths = direction === 'in-out-length' && status === STATUS.INVALID_LEN;
    if (lengths || (status === STATUS.SUCCESS && direction !== 'in')) {
      // What the command left alone keeps its bytes, whatever they are.
      const changed = Object.entries(values).filter(([field, value]) => value !== before[field]);
      update(type, bytes, Object.fromEntries(changed));
      this.#platform.memory.write(spa, bytes, 0);
    }
    return status;
  }

  #run(name: CommandName, run: Run, buffer: Record<string, number | Uint8Array>): Status {
    const platform = this.#platform;
    if (!PLATFORM_STATES[name].includes(platform.state)) return STATUS.INVALID_PLATFORM_STATE;
    let guest: Guest | undefined;
    if (name in GUEST_STATES) {
      guest = platform.guests.get(buffer.handle as number);
      if (guest === undefined) return STATUS.INVALID_GUEST;
      const allowed: readonly LiveGuestState[] = GUEST_STATES[name as GuestCommand];
      if (!allowed.includes(guest.state)) return STATUS.INVALID_GUEST_STATE;
    }
    const status = run(platform, buffer as never, guest as never);
    const next = NEXT_GUEST_STATE[name as keyof typeof NEXT_GUEST_STATE];
    if (status === STATUS.SUCCESS && guest !== undefined && next !== undefined) guest.state = next;
    return status;
  }
}
