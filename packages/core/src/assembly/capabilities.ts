/**
 * The check before anything starts: every word that a plugin requires must be provided by some
 * plugin, by the backend, or by core.
 */
import type { BackendProbe, MemoryEncryption, VmPlugin } from '../interfaces/index.js';
import { VmmError } from '../interfaces/index.js';

/** Words that every VM has. */
export const CORE_CAPABILITIES: readonly string[] = ['core.input', 'core.snapshot', 'core.record'];

/** Who usually provides a word, for the error's remedy; by the longest matching prefix. */
const REMEDIES: readonly (readonly [string, string])[] = [
  ['irqchip', 'use pc() of @cloister/core/devices'],
  ['acpi', 'use pc() of @cloister/core/devices'],
  ['console', 'use serial() of @cloister/core/devices'],
  ['virtio.transport', 'use virtioMmio() or virtioPci() of @cloister/virtio'],
  ['cpu.emulated', 'use the emulated backend, @cloister/backend-emu'],
  ['cpu', 'use another backend, or another processor model'],
];

function remedyFor(word: string): string {
  const known = REMEDIES.find(([prefix]) => word === prefix || word.startsWith(`${prefix}.`));
  return known === undefined ? `use a plugin that provides ${word}` : known[1];
}

/** `VmmError('missing-capability')` with plugin, word and remedy for the first word missing. */
export function checkCapabilities(
  plugins: readonly VmPlugin[],
  probe: BackendProbe,
  encryption: MemoryEncryption | null,
): void {
  const provided = new Set([
    ...CORE_CAPABILITIES,
    ...probe.capabilities,
    ...plugins.flatMap(({ provides }) => provides),
  ]);
  for (const { name, requires } of plugins) {
    const missing = requires.find((word) => !provided.has(word));
    if (missing === undefined) continue;
    throw new VmmError('missing-capability', `requires ${missing}, which nothing here provides`, {
      plugin: name,
      remedy: remedyFor(missing),
    });
  }
  const missing = encryption?.requires.find((word) => !probe.capabilities.includes(word));
  if (encryption !== null && missing !== undefined) {
    throw new VmmError(
      'missing-capability',
      `protection ${encryption.name} requires ${missing}, which backend ${probe.name} lacks`,
      { remedy: 'use a backend or host that has it; cloister probe lists them' },
    );
  }
}

/** Names are unique in a VM. */
export function checkNames(plugins: readonly VmPlugin[]): void {
  const seen = new Map<string, VmPlugin>();
  for (const plugin of plugins) {
    const other = seen.get(plugin.name);
    if (other !== undefined) {
      throw new VmmError('plugin-conflict', `plugin ${plugin.name} is used twice`, {
        plugin: plugin.name,
        remedy: 'use it once, or give the second one a name of its own',
      });
    }
    seen.set(plugin.name, plugin);
  }
}
