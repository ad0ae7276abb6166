// The image of the emulated processor's core module: generated from the sources, put in its place
// in the build, so that nobody's process has to generate it.
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { cacheDir, root } from './lib/workspace.mjs';

const FOLDER = join(root, 'packages', 'backend-emu', 'src', 'interp');
const PLACE = 'export const coreImage: CoreImage | undefined = undefined;';
// Resolved below; a package's name would be left to the importer.
const BYTES = './core.wasm';
const GENERATOR = `
  export { generateCore } from './core-cache.ts';
  export { imageOf } from './core-image.ts';
`;

/** The module's bytes, and the image without their file, that the sources give now. */
export async function coreImage() {
  const { build } = await import('esbuild');
  const { outputFiles } = await build({
    stdin: { contents: GENERATOR, resolveDir: FOLDER },
    bundle: true,
    format: 'esm',
    packages: 'external',
    target: 'es2022',
    write: false,
  });
  mkdirSync(cacheDir, { recursive: true });
  // A name of its own: what was imported once is not loaded again.
  const path = join(cacheDir, `core-image-${process.pid}-${Date.now()}.mjs`);
  writeFileSync(path, outputFiles[0].contents);
  try {
    const { generateCore, imageOf } = await import(pathToFileURL(path).href);
    const { bytes, handlers } = generateCore('early');
    return { bytes, image: imageOf(handlers) };
  } finally {
    rmSync(path);
  }
}

/** Puts it there, for esbuild; the bytes are a file beside the code. */
export const coreImagePlugin = {
  name: 'core-image',
  setup(build) {
    let made;
    build.onLoad({ filter: /[\\/]interp[\\/]core-image\.ts$/ }, async ({ path }) => {
      const source = readFileSync(path, 'utf8');
      if (!source.includes(PLACE)) throw new Error(`${path} has no place for the image`);
      made = await coreImage();
      const image = `{ ...${JSON.stringify(made.image)}, file }`;
      const filled = source.replace(PLACE, `export const coreImage: CoreImage = ${image};`);
      return { contents: `import file from '${BYTES}';\n${filled}`, loader: 'ts' };
    });
    build.onResolve({ filter: /^\.\/core\.wasm$/ }, () => ({
      path: 'core.wasm',
      namespace: 'core-image',
    }));
    build.onLoad({ filter: /./, namespace: 'core-image' }, () => ({
      contents: made.bytes,
      loader: 'file',
    }));
  },
};
