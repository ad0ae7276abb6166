/**
 * The corpus of guest programs on the real KVM, where there is one, with emulation assist off.
 *
 * A KVM that runs without hardware virtualization (kvm_pvm) emulates kernel mode with KVM's
 * instruction emulator: what that lacks or does otherwise is listed for such hosts, and only there.
 */
import { existsSync } from 'node:fs';
import { backendKit } from '@cloister/core/testing';
import { afterAll, describe, it } from 'vitest';
import { kvmBackend } from './backend.js';
import { whyNoKvm } from './testing/index.js';

const reason = whyNoKvm();
const weak = existsSync('/sys/module/kvm_pvm');

/** Programs that such a host stops in the middle: it says so, by an `error` exit. */
const STOPPED = {
  'real-exceptions': 'no BOUND in the instruction emulator',
  'triple-fault-real': "no limit of real mode's IDT: the guest runs on into what it cannot execute",
  'call-gates': 'no IRET to outer levels in protected mode',
};

/** Programs that it runs to their end with another result. */
const WRONG = {
  'flags-privilege': 'POPF at CPL 3 runs natively, with the privileges of that processor',
  'page-crossing': 'an emulated write that faults in its second page has written the first',
  'interrupt-shadow': 'a pending interrupt waits for the end of a batch of emulated instructions',
  'port-permission': 'IN and OUT by DX fault at CPL 3 with IOPL 3',
};

describe.skipIf(reason !== null)(`on KVM ${reason ?? ''}`, () => {
  const lines: string[] = [];
  backendKit(
    { describe, it },
    {
      name: weak ? 'kvm, without hardware virtualization, assist off' : 'kvm, assist off',
      make: () => kvmBackend(),
      deadlineMs: 10_000,
      deviations: weak ? { ...STOPPED, ...WRONG } : {},
      print: (line) => void lines.push(line),
    },
  );
  afterAll(() => void process.stderr.write(`${lines[0]}\n`));
});
