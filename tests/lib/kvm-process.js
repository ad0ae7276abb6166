// A process whose guest spins on KVM, inline or in a Worker, and how it is then ended:
//
//   node kvm-process.js inline|worker exit|throw|wait|dispose|end [CPUs]
import { runInWorker } from '@cloister/core/worker';
import build from './kvm-vm.js';

const [where, how, cpus = '1'] = process.argv.slice(2);
const options = { cpus: Number(cpus) };

async function start() {
  if (where === 'worker') return runInWorker(new URL('./kvm-vm.js', import.meta.url), options);
  const vm = await build(options);
  await vm.start();
  return vm;
}

const vm = await start();
// The other CPUs' Workers start as the guest wakes them.
if (options.cpus > 1) await new Promise((resolve) => setTimeout(resolve, 500));
process.stdout.write('spinning\n');
setTimeout(async () => {
  if (how === 'exit') process.exit(7);
  if (how === 'throw') throw new Error('on purpose');
  if (how !== 'dispose') return;
  await vm.dispose();
  await vm.dispose();
  process.stdout.write('disposed\n');
}, 100);
