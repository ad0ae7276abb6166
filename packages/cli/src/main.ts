/**
 * The `cloister` command: from the words of the command line to an exit status.
 */
import { readFileSync } from 'node:fs';
import { parseArguments } from './arguments.js';
import { BACKEND_CHOICES } from './backends.js';
import { errorLines } from './error-report.js';
import { EXIT, statusOfError } from './exit-status.js';
import type { Host } from './host.js';
import { nodeHost } from './node-host.js';
import { probe, probeText } from './probe.js';
import { resolveOptions } from './run-options.js';

/** Runs the command with the words after its name. Resolves to the exit status; never rejects. */
export async function main(args: readonly string[], host: Host = nodeHost()): Promise<number> {
  const debug = args.includes('--debug');
  try {
    return await dispatch(args, host, debug);
  } catch (error) {
    for (const line of errorLines(error, { debug })) host.warn(line);
    // `attest` has statuses of its own: 2 would say that a signature is wrong.
    if (args[0] === 'attest') return (await import('./attest.js')).attestStatusOfError(error);
    return statusOfError(error);
  }
}

async function dispatch(args: readonly string[], host: Host, debug: boolean): Promise<number> {
  const { columns } = host.stdout;
  const invocation = parseArguments(args, {
    version: packageVersion(),
    cwd: host.cwd,
    ...(columns === undefined ? {} : { columns }),
  });
  switch (invocation.command) {
    case 'text':
      await print(host, invocation.text);
      return EXIT.ok;
    case 'probe':
      await print(host, probeText(await probe(BACKEND_CHOICES)));
      return EXIT.ok;
    case 'attest': {
      const { attest } = await import('./attest.js');
      const { cwd, warn } = host;
      return attest(invocation, { cwd, warn, print: (text) => print(host, text) });
    }
    case 'measure': {
      const { measure } = await import('./measure.js');
      return measure(invocation, { cwd: host.cwd, print: (text) => print(host, text) });
    }
    case 'psp': {
      const { psp } = await import('./psp.js');
      return psp(invocation, { cwd: host.cwd, print: (text) => print(host, text) });
    }
    case 'trace': {
      const { trace } = await import('./trace.js');
      return trace(invocation, { cwd: host.cwd, print: (text) => print(host, text) });
    }
    case 'run': {
      const { config, flags, quiet } = invocation;
      // The validator and the machine are loaded only where they are needed.
      const layers =
        config === undefined
          ? [flags]
          : [(await import('./config-file.js')).loadConfig(flags.resolvePath(config)), flags];
      const { options, given } = resolveOptions(layers);
      const [{ run }, { assembler }] = await Promise.all([
        import('./run.js'),
        import('./assemble.js'),
      ]);
      return run({ host, options, quiet, debug, assemble: assembler(given) });
    }
  }
}

/** Writes a command's result; a reader that went away early is no error. */
function print(host: Host, text: string): Promise<void> {
  return new Promise((resolve) => {
    host.stdout.on('error', () => resolve());
    host.stdout.write(new TextEncoder().encode(text), () => resolve());
  });
}

function packageVersion(): string {
  const manifest = readFileSync(new URL('../package.json', import.meta.url), 'utf8');
  return (JSON.parse(manifest) as { version: string }).version;
}
