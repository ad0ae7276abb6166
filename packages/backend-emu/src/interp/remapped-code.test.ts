/** A page of code that is mapped elsewhere: after INVLPG the new page executes. */
import { createVm } from '@cloister/core';
import { boot, flat } from '@cloister/core/boot';
import { debugExit, pc } from '@cloister/core/devices';
import { describe, expect, it } from 'vitest';
import { emulated } from '../index.js';
import type { JitMode } from '../jit/mode.js';

const SET_UP = [
  ...[0x48, 0xc7, 0xc4, 0x00, 0x00, 0x30, 0x00], // mov rsp, 0x300000
  ...[0x0f, 0x20, 0xd8], // mov rax, cr3
  ...[0x48, 0x8b, 0x00], // mov rax, [rax]
  ...[0x48, 0x25, 0x00, 0xf0, 0xff, 0xff], // and rax, ~0xfff
  ...[0x48, 0xc7, 0x40, 0x08, 0x03, 0x00, 0x20, 0x00], // mov qword [rax+8], 0x200003
  ...[0x48, 0xc7, 0x04, 0x25, 0x00, 0x00, 0x20, 0x00, 0x03, 0x10, 0x20, 0x00], // [0x200000]
  ...[0x48, 0xc7, 0x04, 0x25, 0x00, 0x10, 0x20, 0x00, 0x03, 0x00, 0x21, 0x00], // [0x201000]
  // mov al, 1; ret in one page, mov al, 2; ret in the next
  ...[0xc7, 0x04, 0x25, 0x00, 0x00, 0x21, 0x00, 0xb0, 0x01, 0xc3, 0x00],
  ...[0xc7, 0x04, 0x25, 0x00, 0x10, 0x21, 0x00, 0xb0, 0x02, 0xc3, 0x00],
  ...[0xbf, 0x00, 0x00, 0x00, 0x40], // mov edi, 0x40000000
];
const CALL = [0xff, 0xd7]; // call rdi
const KEEP = [0x88, 0xc3]; // mov bl, al
const REMAP = [0x48, 0xc7, 0x04, 0x25, 0x00, 0x10, 0x20, 0x00, 0x03, 0x10, 0x21, 0x00];
const INVLPG = [0x0f, 0x01, 0x3f]; // invlpg [rdi]
// shl bl, 4; or al, bl; out 0xf4, al
const REPORT = [0xc0, 0xe3, 0x04, 0x08, 0xd8, 0xe6, 0xf4];

/** The bytes of a word, little-endian. */
const word = (value: number) => [0, 8, 16, 24].map((shift) => (value >> shift) & 0xff);
const TOGGLED = 400;

/** mov dword [address], … for all of `code`. */
function place(address: number, code: readonly number[]): number[] {
  const padded = [...code, 0, 0, 0].slice(0, Math.ceil(code.length / 4) * 4);
  return Array.from({ length: padded.length / 4 }, (_, i) => [
    ...[0xc7, 0x04, 0x25, ...word(address + 4 * i)],
    ...padded.slice(4 * i, 4 * i + 4),
  ]).flat();
}

/** A loop that maps its own page to another frame, in which it adds `step`, each time round. */
const toggling = (step: number) => [
  ...[0x05, ...word(step)], // add eax, step
  ...[0x81, 0x34, 0x25, 0x00, 0x10, 0x20, 0x00, 0x00, 0x10, 0x00, 0x00], // xor [0x201000], 0x1000
  ...[0x0f, 0x01, 0x3f], // invlpg [rdi]
  ...[0xff, 0xc9, 0x75, 0xe9, 0xc3], // dec ecx; jnz; ret
];

async function report(code: readonly number[], jit: JitMode): Promise<unknown> {
  const image = new Uint8Array([...SET_UP, ...code, ...REPORT]);
  const vm = await createVm({ memory: '4M', cpus: 1, seed: 1, clock: 'icount' })
    .use(emulated({ jit }), pc(), debugExit(), boot(flat({ image, mode: 'long' })))
    .build();
  await vm.start();
  await vm.pause({ at: 10_000 });
  const end = await vm.stop();
  await vm.dispose();
  return end;
}

const reported = (value: number) => ({ reason: 'debug-exit', status: (value << 1) | 1 });

describe.each(['off', 'stress'] as const)('translation %s', (jit) => {
  it.each([
    ['once', [...CALL, ...KEEP, ...REMAP, ...INVLPG, ...CALL]],
    ['called twice', [...CALL, ...CALL, ...KEEP, ...REMAP, ...INVLPG, ...CALL]],
    // The pages of other code and of data are dropped meanwhile.
    [
      'after others',
      [
        ...[...CALL, ...KEEP, 0x0f, 0x01, 0x3c, 0x24, ...CALL], // invlpg [rsp]
        ...[0x0f, 0x01, 0xbf, 0x00, 0x00, 0x00, 0x40, ...CALL], // invlpg [rdi+0x40000000]
        ...[...REMAP, ...INVLPG, ...CALL],
      ],
    ],
  ])('%s', async (_name, code) => {
    expect(await report(code, jit)).toMatchObject(reported(0x12));
  });

  it('goes on in the new page while a loop remaps itself', async () => {
    const code = [
      ...[...place(0x210000, toggling(1)), ...place(0x211000, toggling(2))],
      ...[0x31, 0xc0, 0xb9, ...word(TOGGLED)], // xor eax, eax; mov ecx, TOGGLED
      ...CALL,
      ...[0x3d, ...word((TOGGLED / 2) * 3)], // cmp eax, what half of each adds
      ...[0x0f, 0x94, 0xc3, 0xb0, 0x00], // sete bl; mov al, 0
    ];
    expect(await report(code, jit)).toMatchObject(reported(0x10));
  });

  it('goes on in the new page while a loop in another page remaps what it calls', async () => {
    const caller = [
      ...[0xe8, ...word(-0x1005)], // call what lies a page before
      ...[0x81, 0x34, 0x25, 0x10, 0x10, 0x20, 0x00, 0x00, 0x10, 0x00, 0x00], // xor [0x201010], …
      ...[0x0f, 0x01, 0x3f], // invlpg [rdi]
      ...[0xff, 0xc9, 0x75, 0xe9, 0xc3], // dec ecx; jnz; ret
    ];
    const adding = (step: number) => [0x05, ...word(step), 0xc3]; // add eax, step; ret
    const mapping = (entry: number, value: number) => place(entry, word(value));
    const calling = (address: number) => [0xbe, ...word(address), 0xff, 0xd6]; // mov esi; call rsi
    // In pages that share no entry of the TLB with the code that calls.
    const [callee, loop] = [0x40002000, 0x40003000];
    const code = [
      ...[...place(0x210000, adding(1)), ...place(0x211000, adding(2)), ...place(0x212000, caller)],
      ...[...mapping(0x201010, 0x210003), ...mapping(0x201018, 0x212003)],
      // The page has to be known for the caller's region to reach into it.
      ...[...place(0x210800, [0xc3]), ...calling(callee + 0x800)],
      ...[0x31, 0xc0, 0xb9, ...word(TOGGLED), 0xbf, ...word(callee)], // eax = 0; ecx, edi
      ...calling(loop),
      ...[0x3d, ...word((TOGGLED / 2) * 3)], // cmp eax, what half of each adds
      ...[0x0f, 0x94, 0xc3, 0xb0, 0x00], // sete bl; mov al, 0
    ];
    expect(await report(code, jit)).toMatchObject(reported(0x10));
  });

  it.each([
    // The second call adds, the first only returns from the second page, which the TLB has then.
    ['known', 2, 0x30000],
    ['not known', -4, 0x60000],
  ])('goes on in the new page behind the end of the old one, %s', async (_name, first, sum) => {
    const [code1, code2] = [0x40001000, 0x40002000];
    const mapping = (entry: number, value: number) => place(entry, word(value));
    const code = [
      ...[...mapping(0x201008, 0x210003), ...mapping(0x201010, 0x211003)],
      // nop; add eax, 0x10000 or 0x20000, of which three bytes are in the first page; ret
      ...place(0x210ffc, [0x90, 0x05, 0x00, 0x00]),
      ...[...place(0x211000, [0x01, 0x00, 0xc3]), ...place(0x212000, [0x02, 0x00, 0xc3])],
      ...[0x31, 0xc0, 0xb9, ...word(TOGGLED)], // xor eax, eax; mov ecx, TOGGLED
      ...[0xbe, ...word(code1 + 0xffc), 0xba, ...word(code2)], // mov esi; mov edx
      ...[0x8d, 0x7a, first & 0xff], // lea edi, [rdx+first]
      ...[0xff, 0xd7, 0xff, 0xd6], // call rdi; call rsi
      ...[0x81, 0x34, 0x25, 0x10, 0x10, 0x20, 0x00, 0x00, 0x30, 0x00, 0x00], // xor [0x201010], …
      ...[0x0f, 0x01, 0x3a, 0xff, 0xc9, 0x75, 0xea], // invlpg [rdx]; dec ecx; jnz to the calls
      ...[0x3d, ...word((TOGGLED / 2) * sum)], // cmp eax, what half of each adds
      ...[0x0f, 0x94, 0xc3, 0xb0, 0x00], // sete bl; mov al, 0
    ];
    expect(await report(code, jit)).toMatchObject(reported(0x10));
  });

  it('goes on executing the old page while the translation is kept', async () => {
    expect(await report([...CALL, ...KEEP, ...REMAP, ...CALL], jit)).toMatchObject(reported(0x11));
  });
});
