// How the failures of Web Workers reach the page that started them.
import { runInWorker } from '@cloister/core/worker';

const misbehaving = () =>
  new Worker(new URL('../misbehaving-vm.js', import.meta.url), { type: 'module' });
const missing = () => new Worker(`${location.href}none.js`, { type: 'module' });

async function failure(module, options) {
  const vm = await runInWorker(module, options);
  try {
    await vm.ended;
    return 'nothing went wrong';
  } finally {
    await vm.dispose();
  }
}

const cases = {
  throw: () => failure(misbehaving, { how: 'throw' }),
  reject: () => failure(misbehaving, { how: 'reject' }),
  missing: () => failure(missing),
  refused: () => failure(misbehaving, { memory: 'much' }),
};

for (const [id, run] of Object.entries(cases)) {
  const describe = (error) => error.describe?.() ?? String(error);
  document.getElementById(id).textContent = await run().catch(describe);
}
document.getElementById('end').textContent = 'done';
