/**
 * @cloister/core/cpu: who the processor says it is. CPU models, features and CPUID as every backend
 * presents them, and the indices of MSRs.
 */
export { FEATURES, type FeatureBit } from './features.js';
export { CPU_MODELS, type CpuModel, DEFAULT_CPU_MODEL, OPTIONAL_FEATURES } from './models.js';
export * as msr from './msr-indices.js';
export { type CpuSelection, selectCpu, selectionText } from './selection.js';
export { type CpuidOptions, type CpuidState, CpuidTable } from './table.js';
export { PKRU_COMPONENT, PKRU_OFFSET, PKRU_SIZE, xcr0Mask } from './xsave-layout.js';
