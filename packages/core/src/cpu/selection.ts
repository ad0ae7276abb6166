/**
 * The CPU that a VM gets: a model, with features added and taken away, from a text of the form
 * `MODEL[,+feature,-feature,…]`.
 */
import { VmmError } from '../interfaces/index.js';
import { FEATURES, REQUIRES } from './features.js';
import { CPU_MODELS, type CpuModel, DEFAULT_CPU_MODEL, OPTIONAL_FEATURES } from './models.js';

/** A model with a set of features that is complete and consistent. */
export interface CpuSelection {
  readonly model: CpuModel;
  has(feature: string): boolean;
  readonly features: ReadonlySet<string>;
}

/** The shortest text that selects `model` with `features`. */
export function selectionText(model: CpuModel, features: ReadonlySet<string>): string {
  const added = [...features].filter((name) => !model.features.includes(name));
  const removed = model.features.filter((name) => !features.has(name));
  const changes = [...added.sort().map((name) => `+${name}`), ...removed.map((name) => `-${name}`)];
  return [model.name, ...changes].join(',');
}

/** `text` empty or absent: the default model. Throws `VmmError('invalid-argument')`. */
export function selectCpu(text = ''): CpuSelection {
  const [first = '', ...changes] = text.split(',').map((word) => word.trim());
  const name = first === '' ? DEFAULT_CPU_MODEL : first;
  const model = CPU_MODELS.get(name);
  if (model === undefined) {
    throw new VmmError('invalid-argument', `unknown CPU model "${name}"`, {
      remedy: `known models: ${[...CPU_MODELS.keys()].join(', ')}`,
    });
  }
  const features = new Set(model.features);
  for (const change of changes) applyChange(model, features, change);
  for (const feature of features) {
    for (const needed of REQUIRES[feature] ?? []) {
      if (features.has(needed)) continue;
      throw new VmmError('invalid-argument', `CPU feature "${feature}" needs "${needed}"`, {
        remedy: `add -${feature} or +${needed}`,
      });
    }
  }
  return { model, features, has: (feature) => features.has(feature) };
}

function applyChange(model: CpuModel, features: Set<string>, change: string): void {
  const sign = change[0];
  const feature = change.slice(1);
  if (sign !== '+' && sign !== '-') {
    throw new VmmError('invalid-argument', `"${change}" is no change of a CPU feature`, {
      remedy: 'write +feature or -feature',
    });
  }
  if (!FEATURES.has(feature)) {
    throw new VmmError('invalid-argument', `unknown CPU feature "${feature}"`, {
      remedy: `features: ${[...new Set([...model.features, ...OPTIONAL_FEATURES])].join(' ')}`,
    });
  }
  if (sign === '-') {
    features.delete(feature);
    return;
  }
  if (!model.features.includes(feature) && !OPTIONAL_FEATURES.has(feature)) {
    throw new VmmError('unsupported', `CPU feature "${feature}" is not implemented`, {
      remedy: `features that can be added: ${[...OPTIONAL_FEATURES].join(' ')}`,
    });
  }
  features.add(feature);
}
