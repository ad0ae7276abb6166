// The image of the core module: handlers as generating gives them, bytes where there is a file.
import { describe, expect, it } from 'vitest';
import { generateCore, openImage } from './core-cache.js';
import { imageBytes, imageHandlers, imageOf } from './core-image.js';
import { formOfHandler, handlerOf } from './handlers.js';

describe('the image of the core module', () => {
  const { bytes, handlers } = generateCore('early');
  const image = imageOf(handlers);

  it('has the numbers of all forms', () => {
    expect([...imageHandlers(image).numbers].sort()).toEqual([...handlers.numbers].sort());
  });

  it('knows the forms that it was asked for, and the first one of a key', () => {
    const opened = imageHandlers(image);
    const infos = handlers.forms.filter((info) => info !== undefined);
    expect(infos.length).toBe(handlers.numbers.size);
    for (const info of infos) {
      const handler = handlers.numbers.get(info.key) as number;
      expect(formOfHandler(opened, handler)).toBeUndefined();
      expect(handlerOf(opened, info)).toBe(handler);
      expect(handlerOf(opened, { ...info })).toBe(handler);
      expect(formOfHandler(opened, handler)).toBe(info);
      expect(formOfHandler(handlers, handler)).toBe(info);
    }
  });

  it('cannot say what sequences are', () => {
    expect(() => imageOf(generateCore('all').handlers)).toThrow('sequences');
  });

  it('is used where its file is whole, and else not', () => {
    const described = { ...image, file: './core-1.wasm' };
    const opened = openImage(described, () => bytes);
    expect(WebAssembly.Module.exports(opened!.module).map(({ name }) => name)).toContain('run');
    for (const length of [0, 7, 1000, bytes.length - 1])
      expect(openImage(described, () => bytes.subarray(0, length))).toBeUndefined();
    expect(openImage(described, () => undefined)).toBeUndefined();
    expect(openImage()).toBeUndefined();
  });

  it('has bytes where there is a file, and else none', () => {
    const read: string[] = [];
    const files = {
      readFileSync({ href }: URL) {
        read.push(href);
        return new Uint8Array([7]);
      },
    };
    const node = { process: { getBuiltinModule: (name: string) => name === 'node:fs' && files } };
    expect(imageBytes('./core-1.wasm', node)).toEqual(new Uint8Array([7]));
    expect(read).toEqual([new URL('./core-1.wasm', import.meta.url).href]);
    expect(imageBytes('./core-1.wasm', {})).toBeUndefined();
    expect(imageBytes('./core-1.wasm')).toBeUndefined();
  });
});
