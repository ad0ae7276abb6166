/**
 * For the test: what a C compiler makes of the kernel's headers. One generated program prints
 * sizes, offsets and values; what the headers at hand do not have yet is left out by the
 * preprocessor or, for structs, by being asked for only where a macro tells that it is there.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const HEADERS = [
  'stddef.h',
  'stdio.h',
  'asm/unistd.h',
  'linux/kvm.h',
  'linux/psp-sev.h',
  'linux/time_types.h',
  'linux/mman.h',
  'linux/errno.h',
  'linux/memfd.h',
  'linux/falloc.h',
  'linux/eventpoll.h',
  'linux/fcntl.h',
  'linux/fs.h',
  'asm/siginfo.h',
  'asm/signal.h',
  'asm/mman.h',
  'asm/poll.h',
  'linux/if_tun.h',
];

/** Why no such program can be built here, or null. */
export function whyNoHeaders(include?: string): string | null {
  if (process.platform !== 'linux' || process.arch !== 'x64') return 'this is not Linux on x64';
  if (spawnSync('gcc', ['--version']).status !== 0) return 'there is no gcc';
  const flags = include === undefined ? [] : ['-I', include];
  const { status } = spawnSync('gcc', [...flags, '-E', '-x', 'c', '-'], {
    input: '#include <linux/kvm.h>\n#include <stdio.h>\n',
  });
  return status === 0 ? null : 'there is no linux/kvm.h (install linux-libc-dev and libc6-dev)';
}

/** A C expression, and the macro without which it is not asked for. */
export interface Question {
  readonly expression: string;
  readonly needs?: string;
}

/** The values of integer expressions; absent where the headers do not have them. */
export function askHeaders(
  questions: readonly Question[],
  include?: string,
): ReadonlyMap<string, bigint> {
  const scratch = mkdtempSync(join(tmpdir(), 'cloister-abi-'));
  try {
    const lines = questions.flatMap(({ expression, needs }, index) => {
      const print = `  printf("%d %llu\\n", ${index}, (unsigned long long)(${expression}));`;
      return needs === undefined ? [print] : [`#ifdef ${needs}`, print, '#endif'];
    });
    const source = [
      ...HEADERS.map((header) => `#include <${header}>`),
      'int main(void) {',
      ...lines,
      '  return 0;',
      '}',
      '',
    ].join('\n');
    writeFileSync(join(scratch, 'ask.c'), source);
    const flags = include === undefined ? [] : ['-I', include];
    execFileSync('gcc', [...flags, '-w', '-o', join(scratch, 'ask'), join(scratch, 'ask.c')]);
    const output = execFileSync(join(scratch, 'ask'), { encoding: 'utf8' });
    return new Map(
      output
        .trim()
        .split('\n')
        .map((line) => {
          const [index, value] = line.split(' ');
          return [questions[Number(index)]!.expression, BigInt(value!)] as const;
        }),
    );
  } finally {
    rmSync(scratch, { recursive: true });
  }
}
