// Launch measurements per second: a firmware of 2 MiB and 64 vCPUs, beside the same chain of hashes
// made with node:crypto alone, from pages that lie ready. The two take turns. Also the pure
// hashes, which are those of the browser build.
import { createHash } from 'node:crypto';
import { hashes, measure, pureHashes, useHashes, vmsaPages } from '@cloister/sev/measure';
import { median } from './statistics.mjs';

export const name = 'measure';
export const description = 'SNP launch measurements per second, 2 MiB of firmware, 64 vCPUs';

const FIRMWARE_SIZE = 2 ** 21;
const ROUNDS = 15;
const RUNS = 20;

const sections = [
  { gpa: 0x800000, size: 0x9000, type: 1 },
  { gpa: 0x80a000, size: 0x3000, type: 1 },
  { gpa: 0x80d000, size: 0x1000, type: 2 },
  { gpa: 0x80e000, size: 0x1000, type: 3 },
  { gpa: 0x80f000, size: 0x11000, type: 1 },
];

export function run(report) {
  const launch = {
    mode: 'snp',
    firmware: new Uint8Array(FIRMWARE_SIZE).fill(0x90),
    layout: { sections, resetEip: 0x80b004 },
    vcpus: 64,
    vcpuType: 'EPYC-v4',
  };
  const pages = pagesOf(launch);
  const digest = Buffer.from(measure(launch)).toString('hex');
  if (bare(pages) !== digest) throw new Error('the bare chain gives another digest');
  const used = hashes();
  const contenders = [
    { title: `measure, ${used.name}`, work: () => measure(launch), times: [] },
    { title: 'bare node:crypto', work: () => bare(pages), times: [] },
  ];
  for (let round = 0; round < ROUNDS; round++) {
    for (const { work, times } of contenders) times.push(milliseconds(work));
  }
  const [ours, theirs] = contenders.map(({ times }) => median(times));
  useHashes(pureHashes);
  const pure = Array.from({ length: 3 }, () => milliseconds(() => measure(launch), 2));
  useHashes(used);
  contenders.push({ title: `measure, ${pureHashes.name} (browser build)`, times: pure });
  for (const { title, times } of contenders) {
    const ms = median(times);
    report.row({ what: title, 'per second': (1000 / ms).toFixed(0), 'ms each': ms.toFixed(2) });
  }
  report.note(`overhead over the bare hashes: ${(ours / theirs).toFixed(2)} times (goal: 1.50)`);
  report.note('Both hash the VMSA of all vCPUs but the first once: the pages are the same.');
}

/** What is measured, as `[gpa, type, page]`. */
function pagesOf({ firmware, ...rest }) {
  const list = [];
  for (let at = 0; at < FIRMWARE_SIZE; at += 4096) {
    list.push([2 ** 32 - FIRMWARE_SIZE + at, 1, firmware.subarray(at, at + 4096)]);
  }
  const type = { 1: 3, 2: 5, 3: 6 };
  for (const { gpa, size, type: section } of sections) {
    for (let at = 0; at < size; at += 4096) list.push([gpa + at, type[section], undefined]);
  }
  for (const page of vmsaPages({ firmware, ...rest })) list.push([0xfffffffff000, 2, page]);
  return list;
}

function bare(pages) {
  const info = Buffer.alloc(0x70);
  info.writeUInt16LE(0x70, 0x60);
  let digest = Buffer.alloc(48);
  let last;
  let contents;
  for (const [gpa, type, page] of pages) {
    if (page === undefined) contents = Buffer.alloc(48);
    else if (page !== last) contents = createHash('sha384').update(page).digest();
    last = page;
    info.set(digest);
    info.set(contents, 48);
    info[0x62] = type;
    info.writeUInt32LE(gpa >>> 0, 0x68);
    info.writeUInt32LE(Math.floor(gpa / 2 ** 32), 0x6c);
    digest = createHash('sha384').update(info).digest();
  }
  return digest.toString('hex');
}

function milliseconds(work, runs = RUNS) {
  const start = performance.now();
  for (let count = 0; count < runs; count++) work();
  return (performance.now() - start) / runs;
}
