// node predict.js OVMF VCPUS: predicts a measurement in five lines.
import { readFileSync } from 'node:fs';
import { measure, toHex } from '@cloister/sev/measure';

const [firmware, vcpus] = [readFileSync(process.argv[2]), Number(process.argv[3])];
const digest = measure({ mode: 'snp', firmware, vcpus, vcpuType: 'EPYC-v4' });
process.stdout.write(`${toHex(digest)}\n`);
