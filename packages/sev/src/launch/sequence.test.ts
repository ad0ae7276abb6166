/**
 * The sequence diagram in docs/sev.md is the trace of a real launch: an owner, the host's driver,
 * the secure processor, the memory controller, and a small guest that runs.
 *
 * CLOISTER_WRITE=1 writes the diagram of today.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { emulated } from '@cloister/backend-emu';
import { expect, test } from 'vitest';
import { COMMAND, commandName } from '../abi/commands.js';
import { statusName } from '../abi/status.js';
import { seededEntropy } from '../firmware/entropy.js';
import { secretPacket } from '../measure/index.js';
import { testChip } from '../testing/emulated-chip.js';
import { asm, microVm } from '../testing/micro-guest.js';
import { EmulatedPlatform } from './emulated-platform.js';
import { openOwnerSession } from './owner.js';
import { sev } from './sev.js';

const PAGE = fileURLToPath(new URL('../../../../docs/sev.md', import.meta.url));
const [BEGIN, END] = ['<!-- trace -->\n', '<!-- end of trace -->\n'];
const POLICY = 0x21;
const SECRET_AT = 0x3000;

/** Writes down what goes between the parties; the same step again only counts. */
class Trace {
  readonly #steps: { readonly text: string; times: number }[] = [];

  step(text: string): void {
    const last = this.#steps.at(-1);
    if (last?.text === text) last.times++;
    else this.#steps.push({ text, times: 1 });
  }

  diagram(): string {
    const lines = this.#steps.map(({ text, times }) => {
      return `  ${text}${times > 1 ? ` (${times} times)` : ''}`;
    });
    const parties = [
      'O as owner',
      'H as hypervisor',
      'P as secure processor',
      'M as memory controller',
      'G as guest',
    ].map((party) => `  participant ${party}`);
    return ['```mermaid', 'sequenceDiagram', ...parties, ...lines, '```', ''].join('\n');
  }
}

/** A platform whose secure processor and key slots are watched. */
function watched(trace: Trace): EmulatedPlatform {
  const platform = new EmulatedPlatform({ chip: testChip, seed: 'sequence' });
  const { processor } = platform.psp;
  const command = processor.command.bind(processor);
  processor.command = (id, spa) => {
    const name = commandName(id);
    trace.step(`H->>P: ${name}`);
    const status = command(id, spa);
    if (status !== 0) trace.step(`P-->>H: ${statusName(status)}`);
    if (id === COMMAND.LAUNCH_MEASURE) trace.step('P-->>H: measurement, nonce');
    return status;
  };
  const { keys } = platform.controller;
  const [install, uninstall] = [keys.install, keys.uninstall];
  keys.install = (asid, key) => {
    trace.step(`P->>M: key of ASID ${asid}`);
    install(asid, key);
  };
  keys.uninstall = (asid) => {
    trace.step(`P->>M: no key for ASID ${asid}`);
    uninstall(asid);
  };
  return platform;
}

async function launchTraced(): Promise<string> {
  const trace = new Trace();
  const platform = watched(trace);
  platform.driver.init();
  const { pdh } = platform.driver.pdhCertExport();
  trace.step('H->>O: PDH certificate and its chain');
  const { owner, keys } = openOwnerSession(pdh, POLICY, seededEntropy('owner'));
  trace.step('O->>H: session, policy');
  const secret = async ({ measure: measurement }: { readonly measure: Uint8Array }) => {
    trace.step('H->>O: measurement, nonce');
    const plaintext = new Uint8Array(16).fill(7);
    const packet = await secretPacket({ plaintext, keys, iv: new Uint8Array(16), measurement });
    trace.step('O->>H: secret, enciphered');
    return { ...packet, gpa: SECRET_AT };
  };
  const reports: number[] = [];
  const vm = await microVm(
    {
      code: [...asm.report(SECRET_AT), ...asm.exit],
      backend: emulated({ tuneHost: false }),
      plugins: [sev({ policy: POLICY, platform, owner, secret })],
    },
    reports,
  );
  const { reason } = await vm.run();
  trace.step('H->>G: VMRUN');
  const words = reports.map((word) => `0x${word.toString(16).padStart(8, '0')}`);
  trace.step(`G-->>H: reads ${words.join(', ')} of its secret: ${reason}`);
  await vm.dispose();
  return trace.diagram();
}

test('the diagram in docs/sev.md is the trace of a launch', async () => {
  const diagram = await launchTraced();
  const text = readFileSync(PAGE, 'utf8');
  const [from, to] = [text.indexOf(BEGIN) + BEGIN.length, text.indexOf(END)];
  expect(from).toBeGreaterThan(BEGIN.length);
  if (process.env.CLOISTER_WRITE === '1') {
    writeFileSync(PAGE, text.slice(0, from) + diagram + text.slice(to));
    return;
  }
  expect(text.slice(from, to)).toBe(diagram);
});
