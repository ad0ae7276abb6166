/**
 * One process-wide V8 flag that the interpreter's large function gains from, where it is known.
 *
 * V8 gives functions with many virtual registers a cheaper register allocator; for one loop with
 * hundreds of cases that costs a sixth of the speed. Only Node versions on which the flag was tried
 * get it, since an unknown flag prints to standard error; Node 22 and 24 have no such flag. Nothing
 * here is imported: in a browser there is no `process`, and nothing happens.
 */

/** Major versions of Node on which the flag is known to exist and to help. */
const TESTED_NODE_MAJORS: readonly number[] = [20];
const FLAG = '--no-turbo-use-mid-tier-regalloc-for-huge-functions';

interface NodeProcess {
  readonly versions?: { readonly node?: string };
  getBuiltinModule?(name: string): { setFlagsFromString(flag: string): void } | undefined;
}

/** Sets the flag where it is known; returns whether it did. Call before the module is compiled. */
export function tuneHost(scope: object = globalThis): boolean {
  const host = (scope as { process?: NodeProcess }).process;
  const major = Number(host?.versions?.node?.split('.')[0]);
  if (!TESTED_NODE_MAJORS.includes(major)) return false;
  const v8 = host?.getBuiltinModule?.('node:v8');
  v8?.setFlagsFromString(FLAG);
  return v8 !== undefined;
}
