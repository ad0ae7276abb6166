/**
 * The way to this machine's kernel: the bundled addon (one binary for Linux on x86-64, beside glibc
 * and musl alike), or `node:ffi` where addons may not be loaded and Node has it.
 */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { ffiModule, ffiSys } from './node-ffi.js';
import type { Sys } from './sys.js';

const FILE = 'cloister-kvm.linux-x64.node';

/** From the source and from the bundle. */
const PLACES = ['../../native/', '../native/'];

type Loaded = { readonly sys: Sys } | { readonly reason: string; readonly remedy: string };

let loaded: Loaded | null = null;

/** The port to this machine's kernel, or why there is none. */
export function addonSys(): Loaded {
  loaded ??= load();
  return loaded;
}

function load(): Loaded {
  const { platform, arch } = process;
  if (platform !== 'linux' || arch !== 'x64') {
    return {
      reason: `KVM needs Linux on x64; this is ${platform} on ${arch}`,
      remedy: 'use --backend emu, which runs anywhere',
    };
  }
  const path = PLACES.map((place) => fileURLToPath(new URL(place + FILE, import.meta.url))).find(
    (each) => existsSync(each),
  );
  if (path === undefined) {
    return { reason: `the package lacks its addon, ${FILE}`, remedy: 'install the package again' };
  }
  try {
    const addon = createRequire(import.meta.url)(path) as Omit<Sys, 'name'>;
    const { syscall, view, detach, addressOf } = addon;
    return { sys: { name: 'addon', syscall, view, detach, addressOf } };
  } catch (error) {
    const ffi = ffiModule();
    if (ffi !== null) return { sys: ffiSys(ffi) };
    const text = error instanceof Error ? error.message : String(error);
    return {
      reason: `this Node cannot load the addon: ${text.split('\n')[0]}`,
      remedy: 'use Node 20.19 or newer, with native addons allowed',
    };
  }
}
