// Connections of a vsock device: found by number and ports, and served in turn.
import { expect, test } from 'vitest';
import { Connection } from './connection.js';
import { ConnectionTable } from './connection-table.js';
import { OP_REQUEST, OP_RST } from './vsock-packet.js';

/** Three, with something for the guest. */
function three() {
  const table = new ConnectionTable();
  const [a, b, c] = [1, 3, 5].map((id) => {
    const connection = table.add(new Connection(id, 100 + id, 200 + id));
    connection.say(OP_REQUEST);
    table.touch(connection);
    return connection;
  }) as [Connection, Connection, Connection];
  return { table, a, b, c };
}

test('are found by the number of the host and by their ports', () => {
  const { table, b } = three();
  expect(table.size).toBe(3);
  expect(table.get(3)).toBe(b);
  expect(table.between(103, 203)).toBe(b);
  expect(table.between(203, 103)).toBeUndefined();
  table.remove(b);
  expect([table.size, table.get(3), table.between(103, 203)]).toEqual([2, undefined, undefined]);
});

test('have their turn one after the other, and one with more behind the others', () => {
  const { table, a, b, c } = three();
  expect(table.next).toBe(a);
  a.next(0);
  a.say(OP_RST);
  table.served(a);
  expect(table.next).toBe(b);
  // It already has its turn.
  table.touch(b);
  expect(table.next).toBe(b);
  for (const each of [b, c]) {
    each.next(0);
    table.served(each);
  }
  expect(table.next).toBe(a);
  a.next(0);
  table.served(a);
  expect(table.next).toBeUndefined();
});

test('what was removed gets no turn, nor does one that is not of the table', () => {
  const { table, a, b } = three();
  table.remove(a);
  table.touch(a);
  expect(table.next).toBe(b);
  table.clear();
  table.touch(b);
  expect([table.size, table.next]).toEqual([0, undefined]);
});
