/**
 * A module of Node's own, where there is one. Nothing is imported: in a browser there is no
 * `process`, and the answer is undefined.
 */

interface NodeProcess {
  readonly versions?: { readonly node?: string };
  getBuiltinModule?(name: string): unknown;
}

const processOf = (scope: object): NodeProcess | undefined =>
  (scope as { process?: NodeProcess }).process;

/** Node's module `name`, e.g. `node:fs`, of which the caller knows the shape. */
export function nodeModule<T>(name: string, scope: object = globalThis): T | undefined {
  return processOf(scope)?.getBuiltinModule?.(name) as T | undefined;
}

/** Major version of Node; NaN elsewhere. */
export function nodeMajor(scope: object = globalThis): number {
  return Number(processOf(scope)?.versions?.node?.split('.')[0]);
}
