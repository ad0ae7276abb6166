// A TAP of the host's for one test file, where the process may make one (as root).
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';

export interface HostTap {
  readonly name: string;
  /** IPv4 addresses of its two ends, on a /30 of their own. */
  readonly host: string;
  readonly guest: string;
  remove(): void;
}

const PREFIX = 'cltap';
const ip = (...words: readonly string[]) => spawnSync('ip', words).status === 0;

/**
 * Makes a TAP whose end at the host is up; null where none can be made. `up` are further words for
 * `ip link set`. One that a killed run has left is removed first: routes of two on equal addresses
 * would send answers to the wrong one.
 */
export function makeTap(...up: readonly string[]): HostTap | null {
  removeOrphans();
  const name = `${PREFIX}${process.pid}`;
  const [high, low] = [(process.pid >> 6) & 0xff, (process.pid & 0x3f) << 2];
  const [host, guest] = [`10.199.${high}.${low + 1}`, `10.199.${high}.${low + 2}`];
  const tap = { name, host, guest, remove: () => void ip('link', 'del', name) };
  if (!ip('tuntap', 'add', 'dev', name, 'mode', 'tap')) return null;
  if (ip('addr', 'add', `${host}/30`, 'dev', name) && ip('link', 'set', name, ...up, 'up')) {
    return tap;
  }
  tap.remove();
  return null;
}

function removeOrphans(): void {
  if (!existsSync('/sys/class/net')) return;
  for (const name of readdirSync('/sys/class/net')) {
    const [, pid] = new RegExp(`^${PREFIX}([0-9]+)$`).exec(name) ?? [];
    if (pid !== undefined && !existsSync(`/proc/${pid}`)) ip('link', 'del', name);
  }
}
