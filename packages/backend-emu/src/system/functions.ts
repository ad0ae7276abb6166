/**
 * The table of system functions, by the names that instruction descriptions use. Their order is
 * part of no interface: numbers are given at start-up.
 */
import type { SystemFunction } from '../cpu/processor.js';
import * as control from './control.js';
import * as debug from './debug-registers.js';
import * as fastCalls from './fast-calls.js';
import * as flagControl from './flag-control.js';
import { fxrstor, fxsave, fxsaveOrder } from './fxsave.js';
import { invpcid } from './invpcid.js';
import * as io from './io.js';
import { iret } from './iret.js';
import * as machine from './machine.js';
import * as keys from './protection-keys.js';
import * as segments from './segments.js';
import * as tables from './tables.js';
import * as transfer from './transfer.js';
import * as xsave from './xsave.js';

export const systemFunctions: Readonly<Record<string, SystemFunction>> = {
  callFar: transfer.callFar,
  clts: control.clts,
  cli: flagControl.cli,
  cpuid: machine.cpuid,
  extension: machine.extension,
  fxrstor,
  fxsave,
  fxsaveOrder,
  hlt: machine.hlt,
  icebp: flagControl.icebp,
  in: io.portIn,
  ins: io.ins,
  int: flagControl.int,
  int3: flagControl.int3,
  into: flagControl.into,
  invd: control.invd,
  invlpg: control.invlpg,
  invpcid,
  iret,
  jmpFar: transfer.jmpFar,
  lar: segments.lar,
  lgdt: tables.lgdt,
  lidt: tables.lidt,
  lldt: segments.lldt,
  lmsw: control.lmsw,
  loadFar: segments.loadFar,
  lsl: segments.lsl,
  ltr: segments.ltr,
  monitor: machine.monitor,
  movFromCr: control.movFromCr,
  movFromDr: debug.movFromDr,
  movToCr: control.movToCr,
  movToDr: debug.movToDr,
  movToSeg: segments.movToSeg,
  mwait: machine.mwait,
  out: io.portOut,
  outs: io.outs,
  pause: machine.pause,
  popSeg: segments.popSeg,
  popf: flagControl.popf,
  pushf: flagControl.pushf,
  rdmsr: machine.rdmsr,
  rdpkru: keys.rdpkru,
  rdpmc: machine.rdpmc,
  rdrand: machine.rdrand,
  rdseed: machine.rdseed,
  rdtsc: machine.rdtsc,
  rdtscp: machine.rdtscp,
  retFar: transfer.retFar,
  sgdt: tables.sgdt,
  sidt: tables.sidt,
  sldt: segments.sldt,
  smsw: control.smsw,
  sti: flagControl.sti,
  str: segments.str,
  swapgs: fastCalls.swapgs,
  syscall: fastCalls.syscall,
  sysenter: fastCalls.sysenter,
  sysexit: fastCalls.sysexit,
  sysret: fastCalls.sysret,
  ud: machine.ud,
  verr: segments.verr,
  verw: segments.verw,
  vmmcall: machine.vmmcall,
  wbinvd: control.wbinvd,
  wideBase: fastCalls.wideBase,
  wrmsr: machine.wrmsr,
  wrpkru: keys.wrpkru,
  xgetbv: xsave.xgetbv,
  xrstor: xsave.xrstor,
  xsave: xsave.xsave,
  xsavec: xsave.xsavec,
  xsaveOrder: xsave.xsaveOrder,
  xsaveopt: xsave.xsaveopt,
  xsetbv: xsave.xsetbv,
};
