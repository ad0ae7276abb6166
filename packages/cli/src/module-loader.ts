/**
 * Loads what the user names: a plugin's module by path or by package name, a backend's package.
 */
import { createRequire } from 'node:module';
import { isAbsolute, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { VmmError, type VmPlugin } from '@cloister/core';
import type { PluginChoice } from './run-options.js';

/** Whether `error` says that the module `name` itself is not there (not one that it imports). */
export function isMissingModule(error: unknown, name: string): boolean {
  const { code, message } = error as { code?: unknown; message?: unknown };
  const missing = code === 'ERR_MODULE_NOT_FOUND' || code === 'MODULE_NOT_FOUND';
  return missing && String(message).includes(`'${name}'`);
}

/** A plugin, or a factory that makes one of options. */
type PluginExport = VmPlugin | ((options: Readonly<Record<string, unknown>>) => unknown);

/**
 * The plugin that a module exports as `default` or as `plugin`: a plugin, or a function from
 * options to one. `VmmError('unknown-plugin')` where there is no such module.
 */
export async function loadPlugin(choice: PluginChoice): Promise<VmPlugin> {
  const name = JSON.stringify(choice.module);
  const url = locate(choice);
  let module: { readonly default?: PluginExport; readonly plugin?: PluginExport };
  try {
    module = await import(url);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new VmmError('plugin-failed', `plugin ${name} does not load: ${reason}`, { cause });
  }
  const exported = module.default ?? module.plugin;
  const plugin = typeof exported === 'function' ? await exported(choice.options) : exported;
  if (isPlugin(plugin)) return plugin;
  throw new VmmError('unknown-plugin', `module ${name} exports no plugin`, {
    remedy: 'export what definePlugin() returns, or a function that returns it, as default',
  });
}

function isPlugin(value: unknown): value is VmPlugin {
  const plugin = value as Partial<VmPlugin> | null | undefined;
  return typeof plugin?.name === 'string' && typeof plugin.setup === 'function';
}

function locate({ module, from }: PluginChoice): string {
  const isPath = isAbsolute(module) || /^\.{1,2}[\\/]/.test(module);
  try {
    // Resolved as seen from the user's folder, where their packages are; then from here.
    const file = isPath
      ? createRequire(import.meta.url).resolve(resolve(from, module))
      : resolvePackage(module, from);
    return pathToFileURL(file).href;
  } catch (cause) {
    throw new VmmError('unknown-plugin', `there is no plugin ${JSON.stringify(module)}`, {
      remedy: 'name a file (starting with ./ or /) or an installed package',
      cause,
    });
  }
}

function resolvePackage(name: string, from: string): string {
  try {
    return createRequire(join(from, 'package.json')).resolve(name);
  } catch {
    return createRequire(import.meta.url).resolve(name);
  }
}
