/**
 * `definePlugin`: checks a plugin when it is defined, so that mistakes show where they are made.
 */
import type { PluginContext, VmPlugin } from '../interfaces/index.js';
import { VmmError } from '../interfaces/index.js';

/** The version of the plugin interface that this core offers. */
export const PLUGIN_API = 1;

/** What `definePlugin` takes: a plugin whose lists may be left out. */
export interface PluginDefinition {
  readonly name: string;
  readonly version: string;
  readonly api: 1;
  readonly requires?: readonly string[];
  readonly provides?: readonly string[];
  setup(context: PluginContext): void;
}

const NAME = /^[a-z0-9@][a-z0-9@/._-]*$/i;
const VERSION = /^[0-9]+\.[0-9]+\.[0-9]+([-+].*)?$/;

function refuse(name: unknown, what: string, remedy: string): never {
  const plugin = typeof name === 'string' && name !== '' ? { plugin: name } : {};
  throw new VmmError('invalid-argument', what, { ...plugin, remedy });
}

function words(name: string, field: string, list: unknown): readonly string[] {
  if (list === undefined) return [];
  if (!Array.isArray(list) || list.some((word) => typeof word !== 'string' || word === '')) {
    refuse(name, `${field} is not a list of words`, `write ${field}: ['some.capability']`);
  }
  return Object.freeze([...(list as string[])]);
}

/** `VmmError` unless `plugin` is one that this core can use. */
export function checkPlugin(plugin: unknown): asserts plugin is PluginDefinition {
  if (typeof plugin !== 'object' || plugin === null) {
    refuse('', `${String(plugin)} is not a plugin`, 'pass what definePlugin or a factory returned');
  }
  const { name, version, api, setup } = plugin as Partial<Record<keyof VmPlugin, unknown>>;
  if (typeof name !== 'string' || !NAME.test(name)) {
    refuse(name, `a plugin cannot be named ${JSON.stringify(name)}`, 'give it a name');
  }
  if (api !== PLUGIN_API) {
    const shown = typeof version === 'string' ? ` ${version}` : '';
    throw new VmmError(
      'version-mismatch',
      `plugin ${name}${shown} was written for plugin API ${String(api)};` +
        ` this core has ${PLUGIN_API}`,
      { plugin: name, remedy: `use a version of ${name} for plugin API ${PLUGIN_API}` },
    );
  }
  if (typeof version !== 'string' || !VERSION.test(version)) {
    refuse(name, `its version ${JSON.stringify(version)} is none`, "write version: '1.2.3'");
  }
  if (typeof setup !== 'function') refuse(name, 'it has no setup function', 'add setup(context)');
}

/** Checks a plugin and returns it, frozen. */
export function definePlugin(definition: PluginDefinition): VmPlugin {
  checkPlugin(definition);
  const { name, version, api } = definition;
  return Object.freeze({
    name,
    version,
    api,
    requires: words(name, 'requires', definition.requires),
    provides: words(name, 'provides', definition.provides),
    setup: (context: PluginContext) => definition.setup(context),
  });
}
