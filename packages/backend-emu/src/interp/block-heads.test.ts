// The table of blocks with heads, beside a map.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { OP_SIZE } from '../isa/op-record.js';
import { BlockHeads } from './block-heads.js';
import { Block } from './op-cache.js';

const BASE = 96;
const RECORDS = 8;

test('a table of blocks answers as a map does, for records that are not there as well', () => {
  const step = fc.record({
    action: fc.constantFrom('add' as const, 'delete' as const, 'clear' as const),
    number: fc.nat(RECORDS - 1),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const heads = new BlockHeads(BASE, RECORDS * OP_SIZE);
      const map = new Map<number, Block>();
      for (const { action, number } of steps) {
        const record = BASE + number * OP_SIZE;
        if (action === 'clear') {
          heads.clear();
          map.clear();
        } else if (action === 'delete') expect(heads.delete(record)).toBe(map.delete(record));
        else {
          const block = new Block(number, 0, new Map(), record, 2, 0, 1);
          heads.add(block);
          map.set(record, block);
        }
        for (let at = -OP_SIZE; at <= BASE + (RECORDS + 1) * OP_SIZE; at += OP_SIZE / 2)
          expect(heads.get(at)).toBe(map.get(at));
      }
    }),
  );
});
