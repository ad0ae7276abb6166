/**
 * The diagrams in docs/trace.md are traces of real runs of examples/guest, cut to the exchanges
 * that each is about.
 *
 * CLOISTER_WRITE=1 writes the diagrams of today.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { emulated } from '@cloister/backend-emu';
import { createVm, type VmPlugin } from '@cloister/core';
import { boot, linux } from '@cloister/core/boot';
import { debugExit, pc, serial } from '@cloister/core/devices';
import { sevEs } from '@cloister/sev/launch';
import { expect, test } from 'vitest';
import { exitLine, isGuestExit, switchLine } from './exit-record.js';
import { MermaidDiagram } from './trace-mermaid.js';
import { parseRecord } from './trace-record.js';
import { type Step, Steps } from './trace-steps.js';

const fromRoot = (path: string) => fileURLToPath(new URL(`../../../${path}`, import.meta.url));
const PAGE = fromRoot('docs/trace.md');
const IMAGE = fromRoot('examples/guest/guest.bin');

interface Diagram {
  readonly append: string;
  readonly protection: () => VmPlugin[];
  /** What an exchange that belongs into the diagram has in it. */
  readonly about: RegExp;
}

const ES = () => [sevEs({ platform: { seed: '1' } })];

/** By the marks in the page. */
const DIAGRAMS: Readonly<Record<string, Diagram>> = {
  plain: {
    append: 'checks=none outs=3 port=0x80',
    protection: () => [],
    about: /OUT port 0x80,/,
  },
  automatic: {
    append: 'checks=timer',
    protection: ES,
    about: /^HLT$/,
  },
  'non-automatic': {
    append: 'checks=none outs=3 port=0x80',
    protection: ES,
    about: /OUT port 0x80,/,
  },
  paravirtual: {
    append: 'checks=none outs=3 port=0x80 pv=1',
    protection: ES,
    about: /OUT port 0x80,/,
  },
};

/** The exchanges of a run, each from what left the guest to the entry. */
async function exchanges({ append, protection }: Diagram): Promise<Step[][]> {
  const vm = await createVm({ memory: '16M', seed: 1 })
    .use(
      emulated({ tuneHost: false }),
      pc(),
      serial(),
      debugExit(),
      protection(),
      boot(linux({ kernel: readFileSync(IMAGE), append })),
    )
    .build();
  const steps = new Steps();
  const found: Step[][] = [[]];
  // By way of the log's lines: what the diagrams show is what `cloister trace` shows.
  const take = (line: string) => {
    for (const step of steps.of(parseRecord(line.trim(), 'log', 1))) {
      found.at(-1)!.push(step);
      if (step.entry) found.push([]);
    }
  };
  vm.events.switches.subscribe((event) => take(switchLine(event)));
  vm.events.exits.subscribe((exit) => isGuestExit(exit) && take(exitLine(exit)));
  try {
    expect((await vm.run()).reason).toBe('power-off');
  } finally {
    await vm.dispose();
  }
  return found;
}

async function draw(diagram: Diagram): Promise<string> {
  const mermaid = new MermaidDiagram(20);
  for (const exchange of await exchanges(diagram)) {
    if (!exchange.some(({ text }) => diagram.about.test(text))) continue;
    for (const step of exchange) mermaid.add(step);
  }
  return `\`\`\`mermaid\n${mermaid.finish()}\`\`\`\n`;
}

test.each(Object.keys(DIAGRAMS))('docs/trace.md: %s', async (name) => {
  const drawn = await draw(DIAGRAMS[name]!);
  const text = readFileSync(PAGE, 'utf8');
  const [begin, end] = [`<!-- trace: ${name} -->\n`, '<!-- end of trace -->\n'];
  const from = text.indexOf(begin) + begin.length;
  const to = text.indexOf(end, from);
  expect(from).toBeGreaterThanOrEqual(begin.length);
  if (process.env.CLOISTER_WRITE === '1') {
    writeFileSync(PAGE, text.slice(0, from) + drawn + text.slice(to));
    return;
  }
  expect(text.slice(from, to)).toBe(drawn);
});

test('every diagram of the page is checked', () => {
  const marks = [...readFileSync(PAGE, 'utf8').matchAll(/<!-- trace: (\S+) -->/g)];
  expect(marks.map(([, name]) => name).sort()).toEqual(Object.keys(DIAGRAMS).sort());
});
