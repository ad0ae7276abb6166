/** V8 flags go to tested versions of Node only, and to nothing that is not Node. */
import { describe, expect, it } from 'vitest';
import { tuneHost } from './host-tuning.js';

function node(version: string, flags: string[]): { process: unknown } {
  const v8 = { setFlagsFromString: (flag: string) => flags.push(flag) };
  return { process: { versions: { node: version }, getBuiltinModule: () => v8 } };
}

describe('tuneHost', () => {
  it('sets the flags on a tested version', () => {
    const flags: string[] = [];
    expect(tuneHost(false, node('20.20.2', flags))).toBe(true);
    const common = [
      '--no-turbo-use-mid-tier-regalloc-for-huge-functions',
      '--max-inlined-bytecode-size-cumulative=250',
    ];
    expect(flags.splice(0)).toEqual([...common, '--interrupt-budget=540000']);
    tuneHost(true, node('20.20.2', flags));
    expect(flags).toEqual([...common, '--interrupt-budget=150000']);
  });

  it('leaves other versions, old Nodes and browsers alone', () => {
    const flags: string[] = [];
    expect(tuneHost(false, node('22.1.0', flags))).toBe(false);
    expect(tuneHost(false, { process: { versions: { node: '20.11.0' } } })).toBe(false);
    expect(tuneHost(false, {})).toBe(false);
    expect(flags).toEqual([]);
  });
});
