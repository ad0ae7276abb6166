// A virtual machine monitor in twenty lines: node vmm.js KERNEL INITRD
import { readFileSync } from 'node:fs';
import { emulated } from '@cloister/backend-emu';
import { createVm } from '@cloister/core';
import { boot, linux } from '@cloister/core/boot';
import { pc, serial } from '@cloister/core/devices';

const [kernel, initrd] = process.argv.slice(2).map((path) => readFileSync(path));

const vm = await createVm({ memory: '256M' })
  .use(emulated(), pc(), serial())
  .use(boot(linux({ kernel, initrd, append: 'console=ttyS0 panic=-1' })))
  .build();

vm.events.console.subscribe(({ bytes }) => process.stdout.write(bytes));

const end = await vm.run();
await vm.dispose();
process.stderr.write(`${end.message}, after ${end.instructions} instructions\n`);
