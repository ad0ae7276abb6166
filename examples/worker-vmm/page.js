// The same VM in a browser, in a Worker and in the page itself. Any bundler will do, as: npx vite
import { runInWorker } from '@cloister/core/worker';
import { guest } from './guest.js';
import buildVm from './vm.js';

const options = { image: guest('BROWSER-OK\n') };
const place = (id) => document.getElementById(id);
const write = (id, bytes) => place(id).append(new TextDecoder('latin1').decode(bytes));

async function inWorker() {
  // Written out like this, bundlers see the Worker's module.
  const start = () => new Worker(new URL('./vm.js', import.meta.url), { type: 'module' });
  const console = ({ bytes }) => write('worker', bytes);
  const vm = await runInWorker(start, options, { console });
  const end = await vm.ended;
  await vm.dispose();
  return end;
}

async function inPage() {
  const vm = await buildVm(options);
  vm.events.console.subscribe(({ bytes }) => write('inline', bytes));
  const end = await vm.run();
  await vm.dispose();
  return end;
}

const tell = ({ message, instructions }) => `${message} after ${instructions} instructions`;
try {
  const ends = [await inWorker(), await inPage()];
  place('end').textContent = ends.map(tell).join(', ');
} catch (error) {
  place('end').textContent = String(error);
}
