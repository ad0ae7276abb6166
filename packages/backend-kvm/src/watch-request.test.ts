/** The waits that one thread asks for and another one answers. */
import { expect, test } from 'vitest';
import { WatchAnswer, WatchRequest } from './watch-request.js';

function pair() {
  const request = new WatchRequest();
  return { request, answer: new WatchAnswer(request.memory) };
}

test('a wait is answered once, and told once', () => {
  const { request, answer } = pair();
  expect(request.take()).toBe(false);
  request.ask();
  const asked = answer.next()!;
  expect(request.take()).toBe(false);
  expect(answer.ring(asked)).toBe(true);
  expect(answer.ring(asked)).toBe(false);
  expect(request.take()).toBe(true);
  expect(request.take()).toBe(false);
});

test('an answer that comes when the run is over is not the next one’s', () => {
  const { request, answer } = pair();
  request.ask();
  expect(answer.ring(answer.next()!)).toBe(true);
  request.drop();
  expect(request.take()).toBe(false);
  request.ask();
  expect(request.take()).toBe(false);
  expect(answer.ring(answer.next()!)).toBe(true);
  expect(request.take()).toBe(true);
});

test('what was found in one wait is no answer to the next', () => {
  const { request, answer } = pair();
  request.ask();
  const before = answer.next()!;
  request.drop();
  expect(answer.ring(before)).toBe(false);
  request.ask();
  expect(answer.ring(before)).toBe(false);
  expect(request.take()).toBe(false);
  expect(answer.next()).not.toBe(before);
});

test('whoever rang sees that it was heard, or that the wait is over', () => {
  const { request, answer } = pair();
  const rung = () => {
    request.ask();
    const asked = answer.next()!;
    expect(answer.ring(asked)).toBe(true);
    return asked;
  };
  const taken = rung();
  expect(answer.heard(taken, 0)).toBe(false);
  expect(request.take()).toBe(true);
  expect(answer.heard(taken, 0)).toBe(true);
  const dropped = rung();
  expect(answer.heard(dropped, 0)).toBe(false);
  request.drop();
  expect(answer.heard(dropped, 0)).toBe(true);
  const followed = rung();
  request.ask();
  expect(answer.heard(followed, 0)).toBe(true);
});

test('the end is not answered', () => {
  const { request, answer } = pair();
  request.ask();
  const asked = answer.next()!;
  request.end();
  expect(answer.next()).toBe(null);
  expect(answer.ring(asked)).toBe(false);
  expect(request.take()).toBe(false);
});
