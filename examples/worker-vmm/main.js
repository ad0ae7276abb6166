// A VM in a Worker, run from Node: node main.js [TEXT]
import { runInWorker } from '@cloister/core/worker';
import { guest } from './guest.js';

const image = guest(process.argv[2] ?? 'Hello from a Worker\r\n');

const vm = await runInWorker(
  new URL('./vm.js', import.meta.url),
  { image },
  { console: ({ bytes }) => void process.stdout.write(bytes) },
);

const end = await vm.ended;
process.stderr.write(`${end.message}, after ${end.instructions} instructions\n`);
await vm.dispose();
