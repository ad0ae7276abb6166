/**
 * The container of one VM: services by token. The only file that knows tsyringe.
 *
 * One child of the global root for each VM, never a grandchild; explicit tokens and factories only,
 * no decorators; shutting down is the lifecycle's business (a container disposes in order of
 * construction and forgets values). tsyringe throws at import unless `reflection.ts` came first.
 */
import { isReflective } from '../reflection.js';
// Before tsyringe: a comment by itself keeps the imports from being sorted into one.

import { type DependencyContainer, container as root } from 'tsyringe';
import type { ServiceToken } from '../interfaces/index.js';
import { VmmError } from '../interfaces/index.js';

export class VmContainer {
  private readonly container: DependencyContainer = root.createChildContainer();
  private readonly owners = new Map<symbol, string>();

  constructor() {
    if (!isReflective()) throw new Error('reflect-metadata is not loaded');
  }

  /** Registers a value; `VmmError('plugin-conflict')` if another plugin did. */
  provide<T>(token: ServiceToken<T>, value: T, owner: string): void {
    this.register(token, () => value, owner);
  }

  /** Registers a factory that is called at every `get`. */
  register<T>(token: ServiceToken<T>, factory: () => T, owner: string): void {
    const other = this.owners.get(token.key);
    if (other !== undefined) {
      throw new VmmError('plugin-conflict', `${owner} and ${other} both provide ${nameOf(token)}`, {
        plugin: owner,
        remedy: 'use only one of them',
      });
    }
    this.owners.set(token.key, owner);
    this.container.register(token.key, { useFactory: factory });
  }

  has(token: ServiceToken<unknown>): boolean {
    return this.owners.has(token.key);
  }

  /** The service, or `VmmError('missing-capability')` in the name of `plugin`. */
  get<T>(token: ServiceToken<T>, plugin?: string): T {
    if (!this.has(token)) {
      throw new VmmError('missing-capability', `nothing provides ${nameOf(token)}`, {
        ...(plugin === undefined ? {} : { plugin }),
        remedy: 'use a plugin that provides it, before this one',
      });
    }
    return this.container.resolve<T>(token.key);
  }

  /** Lets go of every registration. */
  clear(): void {
    this.container.reset();
    this.owners.clear();
  }
}

function nameOf(token: ServiceToken<unknown>): string {
  return token.key.description ?? String(token.key);
}
