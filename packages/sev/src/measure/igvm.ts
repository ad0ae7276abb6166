/**
 * The SNP digest of an IGVM file, as KVM launches it.
 *
 * Unconfirmed: no file with a digest from a machine is known to us. The rules are those that
 * Coconut's igvmmeasure states for KVM: one VMSA, last, at the address that KVM uses.
 */
import { VmmError } from '@cloister/core';
import { viewOf } from '../bytes.js';
import { type IgvmDirective, type IgvmFile, parseIgvm } from './igvm-file.js';
import { VMSA_GPA } from './launch.js';
import { type MeasuredRegion, PAGE_SIZE, type PageListener, snpChain } from './launch-chain.js';

export interface IgvmOptions {
  /** Pages without contents are given as ZERO pages; otherwise as NORMAL ones full of zeros. */
  readonly nativeZero?: boolean;
  /** Do not insist on what KVM asks of the VMSA. */
  readonly anyVmsa?: boolean;
}

const CR0_AT = 0x158;
/** What KVM measures whatever the file says: protected mode, with and without the FPU's ET bit. */
const CR0_OF_KVM = [0x31n, 0x30n];

export function measureIgvm(
  file: Uint8Array | IgvmFile,
  options: IgvmOptions = {},
  listener?: PageListener,
): Uint8Array {
  const { directives } = file instanceof Uint8Array ? parseIgvm(file) : file;
  if (options.anyVmsa !== true) checkVmsa(directives);
  const chain = snpChain();
  for (const directive of directives) chain.add(region(directive, options), listener);
  return chain.digest();
}

function region(directive: IgvmDirective, { nativeZero = false }: IgvmOptions): MeasuredRegion {
  const { gpa } = directive;
  if (directive.kind === 'vcpu') {
    const { vmsa: bytes, index } = directive;
    return { name: `vmsa-${index}`, gpa, size: PAGE_SIZE, type: 'vmsa', bytes };
  }
  const { size } = directive;
  if (directive.kind === 'parameters') return { name: 'parameters', gpa, size, type: 'unmeasured' };
  const { type, unmeasured, bytes } = directive;
  if (type !== 'normal') return { name: type, gpa, size, type };
  if (unmeasured) return { name: 'unmeasured', gpa, size, type: 'unmeasured' };
  if (bytes === undefined && nativeZero) return { name: 'zero', gpa, size, type: 'zero' };
  return { name: 'data', gpa, size, type, bytes: bytes ?? new Uint8Array(size) };
}

function checkVmsa(directives: readonly IgvmDirective[]): void {
  const vcpus = directives.filter(({ kind }) => kind === 'vcpu');
  const last = directives.at(-1);
  const remedy = 'rebuild the file for KVM';
  const refuse = (message: string) => new VmmError('unsupported', `IGVM: ${message}`, { remedy });
  if (vcpus.length > 1) throw refuse('KVM takes one VMSA from a file, not more');
  if (vcpus.length === 0) throw refuse('it has no VMSA');
  if (last?.kind !== 'vcpu') throw refuse('KVM measures the VMSA last; the file has it before');
  if (last.gpa !== VMSA_GPA) throw refuse(`its VMSA is not at 0x${VMSA_GPA.toString(16)}`);
  const cr0 = viewOf(last.vmsa).getBigUint64(CR0_AT, true);
  if (!CR0_OF_KVM.includes(cr0)) throw refuse(`CR0 of its VMSA is 0x${cr0.toString(16)}, not 0x31`);
}
