// A process whose guest spins on KVM, inline or in a Worker, and how it is then ended:
//
//   node kvm-process.js inline|worker exit|throw|wait|dispose|terminate
import { runInWorker } from '@cloister/core/worker';
import build from './kvm-vm.js';

const [where, how] = process.argv.slice(2);

async function start() {
  if (where === 'worker') return runInWorker(new URL('./kvm-vm.js', import.meta.url), {});
  const vm = await build({});
  await vm.start();
  return vm;
}

const vm = await start();
process.stdout.write('spinning\n');
setTimeout(async () => {
  if (how === 'exit') process.exit(7);
  if (how === 'throw') throw new Error('on purpose');
  if (how !== 'dispose') return;
  await vm.dispose();
  await vm.dispose();
  process.stdout.write('disposed\n');
}, 100);
