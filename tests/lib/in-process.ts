// The built command in this process: its words, its standard output, its lines on standard error.
// Starting a process for each of a hundred cases would take longer than the cases do.
import { main } from '@cloister/cli';

export interface Result {
  readonly status: number;
  readonly out: string;
  readonly errors: string;
}

type Host = NonNullable<Parameters<typeof main>[1]>;

/** Runs a command that reads no input and keeps no time, in the folder `cwd`. */
export async function inProcess(words: readonly string[], cwd: string): Promise<Result> {
  let out = '';
  const errors: string[] = [];
  const stdout = {
    on: () => undefined,
    write: (bytes: Uint8Array, done: () => void) => {
      out += Buffer.from(bytes).toString();
      done();
      return true;
    },
  };
  const host = { cwd, stdout, warn: (line: string) => void errors.push(line) };
  const status = await main(words, host as unknown as Host);
  return { status, out, errors: errors.join('\n') };
}
