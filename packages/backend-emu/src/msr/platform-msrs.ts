/**
 * MSRs of the platform: memory types, speculation controls, debug control, and AMD's configuration
 * registers as far as kernels look at them without expecting a fault.
 *
 * Source: AMD APM vol. 2, 7.8 (PAT), 13.1.1.5 (DebugCtl), 15.30 (VM_CR), 3.2.1 (SYSCFG); PPR for
 * family 19h (HWCR, NB_CFG, DE_CFG); AMD "Indirect branch control extension" (SPEC_CTRL, PRED_CMD).
 * Known inaccuracies: memory types have no effect; last-branch records are not kept, so
 * DebugCtl.LBR reads as zero; performance counters and machine-check banks are absent and fault,
 * as CPUID says.
 */
import type { CpuSelection } from '@cloister/core/cpu';
import { msr as I } from '@cloister/core/cpu';
import { constant, type MsrEntry } from './entry.js';
import type { MsrCpu } from './ports.js';

const PAT_RESET_LO = 0x00070406;
const PAT_RESET_HI = 0x00070406;
const DEBUG_LBR = 1 << 0;
const DEBUG_BTF = 1 << 1;
/** LBR, BTF, and the four pin controls that newer processors ignore. */
const DEBUG_MASK = 0x3f;
/** HWCR: the TSC counts at the P0 frequency, as Linux insists. */
const HWCR_TSC_FREQ_SEL = 1 << 24;
/** HWCR bits of old errata that kernels set and that mean nothing here. */
const HWCR_IGNORED = (1 << 3) | (1 << 6) | (1 << 8) | HWCR_TSC_FREQ_SEL;
/** DE_CFG: LFENCE serializes; always true here. */
const LFENCE_SERIALIZE = 1 << 1;
/** VM_CR: SVM is disabled and locked so. */
const VM_CR_DISABLED = (1 << 3) | (1 << 4);

export interface PlatformState {
  patLo: number;
  patHi: number;
  debugCtl: number;
  specCtrl: number;
}

export function platformReset(): PlatformState {
  return { patLo: PAT_RESET_LO, patHi: PAT_RESET_HI, debugCtl: 0, specCtrl: 0 };
}

export function platformMsrs(state: PlatformState, cpu: CpuSelection, port: MsrCpu): MsrEntry[] {
  const entries = [
    debugControl(state, port),
    constant(I.HWCR, 'HWCR', HWCR_TSC_FREQ_SEL, HWCR_IGNORED),
    constant(I.DE_CFG, 'DE_CFG', LFENCE_SERIALIZE, LFENCE_SERIALIZE),
    constant(I.VM_CR, 'VM_CR', VM_CR_DISABLED, 0x1f),
    ignored(I.SYSCFG, 'SYSCFG'),
    ignored(I.NB_CFG, 'NB_CFG'),
    patchLevel(cpu.model.patchLevel),
  ];
  if (cpu.has('pat')) entries.push(pat(state));
  const specMask =
    (cpu.has('ibrs') ? 1 : 0) | (cpu.has('stibp') ? 2 : 0) | (cpu.has('ssbd') ? 4 : 0);
  if (specMask !== 0) entries.push(specControl(state, specMask));
  if (cpu.has('ibpb')) entries.push(predictorCommand());
  return entries;
}

function validPat(word: number): boolean {
  for (let shift = 0; shift < 32; shift += 8) {
    const type = (word >>> shift) & 0xff;
    if (type > 7 || type === 2 || type === 3) return false;
  }
  return true;
}

function pat(state: PlatformState): MsrEntry {
  return {
    index: I.PAT,
    name: 'PAT',
    read: (out) => {
      out.lo = state.patLo;
      out.hi = state.patHi;
      return true;
    },
    write: (lo, hi) => {
      if (!validPat(lo) || !validPat(hi)) return false;
      state.patLo = lo;
      state.patHi = hi;
      return true;
    },
  };
}

function debugControl(state: PlatformState, port: MsrCpu): MsrEntry {
  return {
    index: I.DEBUG_CTL,
    name: 'DEBUG_CTL',
    read: (out) => {
      out.lo = state.debugCtl;
      return true;
    },
    write: (lo, hi) => {
      if (hi !== 0 || (lo & ~DEBUG_MASK) !== 0) return false;
      const changed = ((state.debugCtl ^ lo) & DEBUG_BTF) !== 0;
      state.debugCtl = lo & ~DEBUG_LBR;
      if (changed) port.branchStep((lo & DEBUG_BTF) !== 0);
      return true;
    },
  };
}

function specControl(state: PlatformState, mask: number): MsrEntry {
  return {
    index: I.SPEC_CTRL,
    name: 'SPEC_CTRL',
    read: (out) => {
      out.lo = state.specCtrl;
      return true;
    },
    write: (lo, hi) => {
      if (hi !== 0 || (lo & ~mask) !== 0) return false;
      state.specCtrl = lo;
      return true;
    },
  };
}

/** Write-only: there is no predictor to flush. */
function predictorCommand(): MsrEntry {
  return {
    index: I.PRED_CMD,
    name: 'PRED_CMD',
    read: () => false,
    write: (lo, hi) => hi === 0 && (lo & ~1) === 0,
  };
}

function patchLevel(level: number): MsrEntry {
  return {
    index: I.PATCH_LEVEL,
    name: 'PATCH_LEVEL',
    read: (out) => {
      out.lo = level;
      return true;
    },
    write: () => false,
  };
}

/** Reads as zero and takes any write, as a register that firmware has locked. */
function ignored(index: number, name: string): MsrEntry {
  return { index, name, read: () => true, write: () => true };
}
