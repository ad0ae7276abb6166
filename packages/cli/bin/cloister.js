#!/usr/bin/env node
// The `cloister` command. Committed as JavaScript, so that npm links it even before the first
// build; everything it does is in src/, loaded from the build.
import { existsSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';

const main = new URL('../dist/main.js', import.meta.url);

if (!existsSync(main)) {
  process.stderr.write('cloister: the build is missing; run "npm run build" in the root\n');
  process.exit(6);
}
// V8 would optimise Node's module loader, which has hardly any more to do by the time that is done.
const optimises = !process.execArgv.some((word) => /^--no-(opt|turbofan)$/.test(word));
if (optimises) setFlagsFromString('--no-opt');
const { main: run } = await import(main.href);
if (optimises) setFlagsFromString('--opt');
process.exitCode = await run(process.argv.slice(2));
