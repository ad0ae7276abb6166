// Pages of system memory that an extension keeps for itself.
import { VmmError } from '@cloister/core';
import { expect, test } from 'vitest';
import { PhysicalMemory } from './physical.js';
import { systemMemory } from './system-memory.js';

const PAGE = 4096;

test('an extension gets as many pages as it asked for, none of them the guest’s', () => {
  const size = 6 * PAGE;
  const buffer = new ArrayBuffer(size);
  const physical = new PhysicalMemory({ buffer, ramBase: 0, size });
  const memory = systemMemory(physical, 2);
  const own = [memory.reserve(), memory.reserve()];
  expect(() => memory.reserve()).toThrow(VmmError);
  const slot = { id: 0, name: 'ram', gpa: 0, size: 4 * PAGE, readOnly: false, encryptable: true };
  physical.addSlot(slot);
  const guest = [0, 1, 2, 3].map((page) => memory.locate(page * PAGE));
  expect(new Set([...own, ...guest]).size).toBe(6);
  memory.write(own[0]!, Uint8Array.of(1, 2, 3), 0);
  const back = new Uint8Array(3);
  memory.read(own[0]!, back, 0);
  expect([...back]).toEqual([1, 2, 3]);
});

test('one that asked for none gets none', () => {
  const physical = new PhysicalMemory({ buffer: new ArrayBuffer(PAGE), ramBase: 0, size: PAGE });
  expect(() => systemMemory(physical).reserve()).toThrow(/no page of system memory/);
});

test('a page is stored late, but at once where the guest has a translation to it', () => {
  const size = 4 * PAGE;
  const physical = new PhysicalMemory({ buffer: new ArrayBuffer(size), ramBase: 0, size });
  const memory = systemMemory(physical, 1);
  const page = memory.reserve();
  const store = () => memory.write(page, Uint8Array.of(5), 0);
  const target = new Uint8Array(1);
  memory.defer(page, 0, store);
  expect(memory.isDeferred(page)).toBe(true);
  memory.read(page, target, 0);
  expect([target[0], memory.isDeferred(page)]).toEqual([5, false]);
  physical.noteCached(page / PAGE, 0);
  memory.write(page, Uint8Array.of(6), 0);
  memory.defer(page, 0, store);
  expect([memory.isDeferred(page), physical.bytes[page]]).toEqual([false, 5]);
  expect(() => memory.defer(size, 0, store)).toThrow(/no system memory/);
});

test('frames of a slot that went are blank until they are written again', () => {
  const size = 4 * PAGE;
  const physical = new PhysicalMemory({ buffer: new ArrayBuffer(size), ramBase: 0, size });
  const slot = { id: 0, name: 'ram', gpa: 0, size, readOnly: false, encryptable: true };
  for (let round = 0; round < 2; round++) {
    physical.addSlot(slot);
    expect([...physical.keys.blank]).toEqual([1, 1, 1, 1]);
    physical.written(PAGE, PAGE);
    expect([...physical.keys.blank]).toEqual([1, 0, 1, 1]);
    expect([...physical.takeDirty()]).toEqual([1]);
    physical.written(PAGE, PAGE);
    physical.removeSlot(0);
  }
});
