/**
 * The words after `cloister trace`: which log, and what to make of it. Parsing is commander's.
 */
import { type Command, Option } from 'commander';

export const TRACE_FORMATS = ['jsonl', 'perfetto', 'mermaid'] as const;
export type TraceFormat = (typeof TRACE_FORMATS)[number];

export interface TraceInvocation {
  readonly command: 'trace';
  /** The exit log of a run. */
  readonly file: string;
  readonly flags: {
    readonly format?: TraceFormat;
    readonly out?: string;
    readonly from?: string;
    readonly to?: string;
    readonly vcpu?: string;
    readonly steps?: string;
  };
}

/** Adds `trace`. */
export function addTrace(program: Command, take: (invocation: TraceInvocation) => void): void {
  const formats = new Option(`--format <${TRACE_FORMATS.join('|')}>`, 'what to write');
  program
    .command('trace')
    .description('show who did what at each exit: guest, CPU and VMM, from the exit log of a run')
    .argument('<log>', 'what "cloister run --exits FILE" wrote')
    .addOption(formats.choices([...TRACE_FORMATS]).default('mermaid'))
    .option('--out <file>', 'write to a file (default: standard output)')
    .option('--from <n>', 'from the instruction with this number on')
    .option('--to <n>', 'to the instruction with this number')
    .option('--vcpu <n>', 'of one virtual CPU only (a diagram is of one: default 0)')
    .option(
      '--steps <n>',
      'end a diagram after so many exits of a kind of their own (default: 100)',
    )
    .option('--debug', 'print stacks of errors')
    .allowExcessArguments(false)
    .action((file: string, flags: TraceInvocation['flags']) => {
      take({ command: 'trace', file, flags });
    });
}
