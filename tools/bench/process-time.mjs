// Processor time that a process has used: what benchmarks measure, since a machine that also does
// other things delays a process but does not add to this.
//
// Source: proc_pid_stat(5). Linux only; a clock tick is 10 ms.
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';

const TICKS_PER_SECOND = 100; // USER_HZ, the same on every Linux of these architectures

export const canMeasure = () => existsSync('/proc/self/stat');

/** User and system time of a process, its threads and its living children. */
export function cpuSeconds(pid) {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  // The program's name, in parentheses, may hold anything: count fields after it.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  // Four fields from utime on: user and system, its own and those of children it waited for.
  const ticks = fields.slice(11, 15).reduce((sum, field) => sum + Number(field), 0);
  return childrenOf(pid).reduce((sum, child) => sum + cpuSeconds(child), ticks / TICKS_PER_SECOND);
}

function childrenOf(pid) {
  return readdirSync(`/proc/${pid}/task`).flatMap((task) =>
    readFileSync(`/proc/${pid}/task/${task}/children`, 'utf8').split(' ').filter(Boolean),
  );
}

/** Why processor time cannot be measured beside `programs`; undefined if it can. */
export function unmeasurable(...programs) {
  if (!canMeasure()) return 'processor time is read from /proc, which is not here';
  const missing = programs.find((program) => !answers(program));
  return missing === undefined ? undefined : `${missing} is not installed`;
}

function answers(program) {
  try {
    execFileSync(program, ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}
