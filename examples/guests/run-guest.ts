// Runs one of the small guests on the emulated processor and gives back what it printed.
import { readFileSync } from 'node:fs';
import { emulated } from '@cloister/backend-emu';
import {
  type BootSource,
  createVm,
  type VmEnd,
  type VmOptions,
  type VmPlugin,
} from '@cloister/core';
import { boot } from '@cloister/core/boot';
import { debugExit, pc, serial } from '@cloister/core/devices';
import { guestPath } from './build.mjs';

export interface GuestRun {
  readonly text: string;
  readonly end: VmEnd;
  readonly faults: readonly string[];
}

/** The bytes of an image beside this file, or of another example's. */
export const guestImage = (name: string): Uint8Array => readFileSync(guestPath(name));

/** Boots `source` on a PC with one serial port and waits for its end. */
export async function runGuest(
  source: BootSource,
  options: VmOptions = {},
  ...plugins: readonly VmPlugin[]
): Promise<GuestRun> {
  const vm = await createVm({ memory: '16M', seed: 1, ...options })
    .use(emulated(), pc(), serial(), debugExit(), boot(source), plugins)
    .build();
  let text = '';
  const faults: string[] = [];
  vm.events.console.subscribe(({ bytes }) => {
    text += new TextDecoder('latin1').decode(bytes);
  });
  vm.events.faults.subscribe(({ message }) => faults.push(message));
  try {
    const end = await vm.run();
    return { text, end, faults };
  } finally {
    await vm.dispose();
  }
}
