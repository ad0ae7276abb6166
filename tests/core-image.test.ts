// What the build put into the emulated backend is what its sources give.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { coreImage } from '../tools/core-image.mjs';
import { root } from '../tools/lib/workspace.mjs';

it('the built core module is the one that the sources give', async () => {
  const dist = join(root, 'packages/backend-emu/dist');
  const names = readdirSync(dist);
  const files = names.filter((name) => name.endsWith('.wasm'));
  expect(files.length).toBe(1);
  const { bytes, image } = await coreImage();
  expect(Buffer.compare(readFileSync(join(dist, files[0])), bytes), 'the bytes').toBe(0);
  const scripts = names.filter((name) => name.endsWith('.js'));
  const built = scripts.map((name) => readFileSync(join(dist, name), 'utf8')).join('\n');
  expect(built.split(`"./${files[0]}"`).length, 'places that name the file').toBe(2);
  expect(built.split(`"${image.keys}"`).length, 'places that have the keys').toBe(2);
  expect(built).toMatch(new RegExp(`"?first"?: ${image.first}\\b`));
});
