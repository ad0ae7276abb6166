// Which files of /lib/modules a guest needs for the modules it names. Debian's packages ship no
// modules.dep (depmod makes it on the installed machine), so the names each module depends on are
// read from the module itself, and the modules.dep that the guest's modprobe wants is made here.
//
// Sources: modules.dep(5); modinfo(8); ELF gABI 4.1, section headers.
// Limit: soft dependencies (`softdep=`) are not followed; name such modules yourself.

import { readdirSync, readFileSync } from 'node:fs';
import { join, relative, sep } from 'node:path';
import { decompressXz, isXz } from './archive.mjs';

const MODULE_BYTES_MAX = 256 * 1024 * 1024;
const SECTION_HEADER_BYTES = 64;

/** Module names are the same with `-` and `_`. */
const plainName = (name) => name.replaceAll('-', '_');

/**
 * Resolves modules with all they depend on.
 * @param {string} modulesDir the kernel's /lib/modules/VERSION
 * @param {string[]} names as modprobe takes them
 * @returns {Promise<{ path: string, data: Buffer, needs: string[] }[]>} each after what it needs;
 *   `path` is relative to `modulesDir`; what is built into the kernel is left out
 */
export async function resolveModules(modulesDir, names) {
  const files = moduleFiles(modulesDir);
  const builtIn = builtInModules(modulesDir);
  const resolved = new Map();

  const visit = async (name, trail) => {
    if (resolved.has(name)) return resolved.get(name).path;
    if (builtIn.has(name)) return undefined;
    if (trail.includes(name)) throw new Error(`modules need each other: ${trail} ${name}`);
    const file = files.get(name);
    if (file === undefined) {
      const by = trail.length > 0 ? `, which ${trail.at(-1)} needs` : '';
      throw new Error(`this kernel has no module ${name}${by}`);
    }
    const data = await readModule(join(modulesDir, file));
    const needs = [];
    for (const dependency of dependenciesOf(data)) {
      const path = await visit(dependency, [...trail, name]);
      if (path !== undefined) needs.push(path);
    }
    const path = file.replace(/\.xz$/, '');
    resolved.set(name, { path, data, needs });
    return path;
  };

  for (const name of names) await visit(plainName(name), []);
  return [...resolved.values()];
}

/** The file of every module, by name. */
function moduleFiles(modulesDir) {
  const files = new Map();
  for (const entry of readdirSync(modulesDir, { withFileTypes: true, recursive: true })) {
    const match = /^(.*)\.ko(\.xz)?$/.exec(entry.name);
    if (!match || !entry.isFile()) continue;
    const path = relative(modulesDir, join(entry.parentPath ?? entry.path, entry.name));
    files.set(plainName(match[1]), path.split(sep).join('/'));
  }
  return files;
}

function builtInModules(modulesDir) {
  const lines = readFileSync(join(modulesDir, 'modules.builtin'), 'utf8').split('\n');
  return new Set(lines.map((line) => plainName(/([^/]+)\.ko$/.exec(line)?.[1] ?? '')));
}

/** A compressed module is unpacked: then the guest's loader need not know how. */
async function readModule(path) {
  const bytes = readFileSync(path);
  if (!isXz(bytes)) return bytes;
  const size = bytes.length < 12 ? 0 : xzSize(bytes);
  return decompressXz(bytes, size);
}

/** The uncompressed size of the only block, from the index: two numbers of 7 bits a byte. */
function xzSize(xz) {
  let at = xz.length - 12 - (xz.readUInt32LE(xz.length - 8) + 1) * 4 + 2;
  const number = () => {
    let value = 0;
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = xz[at++] ?? 0;
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) break;
    }
    return value;
  };
  number(); // the compressed size comes first
  const size = number();
  if (size > MODULE_BYTES_MAX) throw new Error(`a module of ${size} bytes is too large`);
  return size;
}

/** The names in a module's `depends=`. */
export function dependenciesOf(module) {
  const text = elfSection(module, '.modinfo')?.toString('latin1');
  if (text === undefined) throw new Error('not a kernel module: it has no .modinfo section');
  const field = text.split('\0').find((each) => each.startsWith('depends='));
  const names = (field ?? 'depends=').slice('depends='.length).split(',');
  return names.filter((name) => name !== '').map(plainName);
}

/** The bytes of a section of a 64-bit little-endian ELF file, or undefined. */
function elfSection(file, name) {
  const isElf64 = file.length >= 64 && file.toString('latin1', 0, 6) === '\x7fELF\x02\x01';
  if (!isElf64) throw new Error('not a 64-bit ELF file');
  const start = Number(file.readBigUInt64LE(0x28));
  const count = file.readUInt16LE(0x3c);
  if (start + count * SECTION_HEADER_BYTES > file.length) throw new Error('ELF file is truncated');
  const header = (index) => {
    const at = start + index * SECTION_HEADER_BYTES;
    const from = Number(file.readBigUInt64LE(at + 0x18));
    const size = Number(file.readBigUInt64LE(at + 0x20));
    return { name: file.readUInt32LE(at), bytes: file.subarray(from, from + size) };
  };
  const namesIndex = file.readUInt16LE(0x3e);
  if (namesIndex >= count) return undefined;
  const names = header(namesIndex).bytes;
  for (let index = 0; index < count; index++) {
    const section = header(index);
    const end = names.indexOf(0, section.name);
    if (names.toString('latin1', section.name, end) === name) return section.bytes;
  }
  return undefined;
}

/**
 * The text of modules.dep for resolved modules. A loader goes through a line from its end, so each
 * module stands behind all that need it.
 */
export function modulesDep(modules) {
  const needsOf = new Map(modules.map(({ path, needs }) => [path, needs]));
  const allNeeds = (path) => {
    const direct = needsOf.get(path) ?? [];
    const all = [...direct, ...direct.flatMap(allNeeds)];
    return all.filter((each, index) => all.lastIndexOf(each) === index);
  };
  return modules.map(({ path }) => `${path}: ${allNeeds(path).join(' ')}`.trim() + '\n').join('');
}
