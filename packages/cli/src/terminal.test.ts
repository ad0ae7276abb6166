// Standard input: raw mode and its end, the escape key, pipes, and a guest without room.
import { EventEmitter } from 'node:events';
import { expect, test } from 'vitest';
import { type InputStream, Terminal } from './terminal.js';

class FakeInput extends EventEmitter {
  raw = false;
  paused = false;
  readonly isTTY: boolean;
  constructor(isTTY: boolean) {
    super();
    this.isTTY = isTTY;
  }
  setRawMode(raw: boolean) {
    this.raw = raw;
  }
  pause() {
    this.paused = true;
  }
  resume() {
    this.paused = false;
  }
  type(text: string) {
    this.emit('data', Buffer.from(text, 'latin1'));
  }
}

function fakeGuest(room = Number.POSITIVE_INFINITY) {
  const guest = {
    room,
    text: '',
    live: undefined as boolean | undefined,
    listener: () => {},
    push(bytes: Uint8Array) {
      const taken = Math.min(bytes.length, guest.room);
      guest.room -= taken;
      guest.text += Buffer.from(bytes.subarray(0, taken)).toString('latin1');
      return taken;
    },
    onRoom(listener: () => void) {
      guest.listener = listener;
    },
    setLive(live: boolean) {
      guest.live = live;
    },
    free(bytes: number) {
      guest.room += bytes;
      guest.listener();
    },
  };
  return guest;
}

function setUp(isTTY: boolean, guest = fakeGuest()) {
  const input = new FakeInput(isTTY);
  const actions: string[] = [];
  const terminal = new Terminal(input as InputStream, (action) => actions.push(action));
  return { input, actions, terminal, guest };
}

test('a terminal is put into raw mode and given back', () => {
  const { input, terminal, guest } = setUp(true);
  terminal.open();
  expect(input.raw).toBe(true);
  terminal.connect(guest);
  expect(terminal.live).toBe(true);
  input.type('ls\r\x03');
  expect(guest.text).toBe('ls\r\x03');
  terminal.close();
  terminal.close();
  expect(input.raw).toBe(false);
  expect(input.listenerCount('data')).toBe(0);
});

test('the escape key works with and without a guest that listens', () => {
  const { input, actions, terminal, guest } = setUp(true, fakeGuest(0));
  terminal.open();
  input.type('\x01h');
  terminal.connect(guest);
  input.type('typed\x01x');
  expect(actions).toEqual(['help', 'quit']);
  expect(input.paused).toBe(false);
});

test('what is typed for a guest that never reads is bounded', () => {
  const { input, terminal, guest } = setUp(true, fakeGuest(0));
  terminal.open();
  terminal.connect(guest);
  for (let n = 0; n < 3000; n++) input.type(String.fromCharCode(0x41 + (n % 26)));
  guest.free(1e9);
  expect(guest.text.length).toBe(1024);
  expect(guest.text.at(-1)).toBe(String.fromCharCode(0x41 + (2999 % 26)));
});

test('a pipe is not live, has no escape key, and is there before the guest starts', () => {
  const { input, actions, terminal, guest } = setUp(false);
  terminal.open();
  input.type('echo \x01x\n');
  terminal.connect(guest);
  expect(terminal.live).toBe(false);
  expect(guest.text).toBe('echo \x01x\n');
  expect(actions).toEqual([]);
  expect(input.raw).toBe(false);
});

test('a pipe waits while the guest has no room, and loses nothing', () => {
  const { input, terminal, guest } = setUp(false, fakeGuest(300));
  terminal.open();
  terminal.connect(guest);
  const text = Array.from({ length: 1000 }, (_, n) => String.fromCharCode(0x30 + (n % 75))).join(
    '',
  );
  input.type(text);
  expect(guest.text).toBe(text.slice(0, 300));
  expect(input.paused).toBe(true);
  guest.free(500);
  expect(input.paused).toBe(true);
  guest.free(500);
  expect(guest.text).toBe(text);
  expect(input.paused).toBe(false);
});

test('a terminal that hangs up brings no more input', () => {
  const { input, terminal, guest } = setUp(true);
  terminal.open();
  terminal.connect(guest);
  input.emit('end');
  expect(guest.live).toBe(false);
});
