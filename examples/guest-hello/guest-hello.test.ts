// The project's own guest does all that it says, on the machine that `npm start` gives it.
import { crc32 } from 'node:zlib';
import { kernelSource } from '@cloister/core/boot';
import { expect, test } from 'vitest';
import { guestImage, runGuest } from '../guests/run-guest.js';

const image = guestImage('../guest-hello/guest-hello.bin');
const checksum = crc32(image).toString(16).padStart(8, '0');

test.each(['2M', '16M', '256M'])('prints what it finds in %s, and switches off', async (memory) => {
  const source = kernelSource({ kernel: image, entry: 'flat' });
  const { text, end, faults } = await runGuest(source, { memory });
  expect(text.split('\r\n')).toEqual([
    "Hello from a guest of the project's own.",
    'processor: AuthenticAMD, Cloister Virtual CPU',
    `memory: ${Number.parseInt(memory, 10)} MiB`,
    `image: ${image.length} bytes, CRC-32 ${checksum}`,
    'primes below 1000000: 78498',
    'timer: 10 ticks at 100 Hz',
    'Switching off.',
    '',
  ]);
  expect(faults).toEqual([]);
  expect(end).toMatchObject({ reason: 'power-off', status: 0 });
});

test('two runs are equal to the instruction, whatever the seed', async () => {
  const run = (seed: number) => runGuest(kernelSource({ kernel: image }), { seed });
  const [one, two] = [await run(1), await run(2)];
  expect(one.end.instructions).toBe(two.end.instructions);
  expect(one.text).toBe(two.text);
});
