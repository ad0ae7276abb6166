/**
 * Where answers of the key server are kept: a port, with one implementation in memory and one in
 * a folder. A kept answer is checked like a new one, so the place need not be trusted; a full
 * folder is also the store for working offline.
 */
export interface KdsCache {
  get(url: string): Promise<Uint8Array | undefined>;
  put(url: string, answer: Uint8Array): Promise<void>;
}

export function memoryCache(): KdsCache {
  const kept = new Map<string, Uint8Array>();
  return {
    get: async (url) => kept.get(url),
    put: async (url, answer) => {
      kept.set(url, answer);
    },
  };
}

/** What a folder needs of a file system; Node's `node:fs/promises` has all of it. */
export interface CacheFiles {
  readFile(path: string): Promise<Uint8Array>;
  writeFile(path: string, data: Uint8Array): Promise<unknown>;
  rename(from: string, to: string): Promise<unknown>;
  mkdir(path: string, options: { readonly recursive: true }): Promise<unknown>;
}

/** Keeps answers as files of one folder; `files` is Node's `node:fs/promises`. */
export function folderCache(folder: string, files: CacheFiles): KdsCache {
  return {
    get: async (url) => {
      try {
        return await files.readFile(`${folder}/${fileName(url)}`);
      } catch (error) {
        if ((error as { code?: unknown }).code === 'ENOENT') return undefined;
        throw error;
      }
    },
    put: async (url, answer) => {
      await files.mkdir(folder, { recursive: true });
      // Written aside and renamed: a reader sees a whole answer or none.
      const path = `${folder}/${fileName(url)}`;
      const aside = `${path}.${crypto.randomUUID()}.part`;
      await files.writeFile(aside, answer);
      await files.rename(aside, path);
    },
  };
}

/** An address as a file name; the chip's identifier alone makes it long, but below any limit. */
export function fileName(url: string): string {
  const name = url.replace(/^https?:\/\//, '').replace(/[^A-Za-z0-9.=-]+/g, '_');
  return `${name}${/(\/crl|\?.*)$/.test(url) ? '.der' : '.pem'}`;
}
