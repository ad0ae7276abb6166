// A machine whose guest says BEGIN and END of each part of its work: the processor time in between.
const RUN_MS_MAX = 900_000;

/**
 * Processor seconds of each part, by `seconds()`: what machine and helpers have used so far. Ends
 * `child`, which was spawned with pipes for its output, when the last part is over.
 */
export function secondsOfParts(title, child, parts, seconds) {
  return new Promise((resolve, reject) => {
    const found = {};
    const begun = {};
    let output = '';
    let errors = '';
    const tooLate = setTimeout(() => child.kill('SIGKILL'), RUN_MS_MAX);
    child.stdout.setEncoding('utf8').on('data', (text) => {
      output += text;
      for (const [, word, part] of output.matchAll(/(BEGIN|END) ([a-z0-9-]+)\r?\n/g)) {
        if (word === 'BEGIN') begun[part] ??= seconds();
        // At least a clock tick, so that a rate stays finite.
        else found[part] ??= Math.max(0.01, seconds() - begun[part]);
      }
      if (parts.every((part) => found[part] !== undefined)) child.kill('SIGKILL');
    });
    child.stderr.setEncoding('utf8').on('data', (text) => {
      errors += text;
    });
    child.on('error', reject);
    child.on('close', (status) => {
      clearTimeout(tooLate);
      const missing = parts.filter((part) => found[part] === undefined);
      if (missing.length === 0) return resolve(found);
      const last = `${output}\n${errors}`.trim().split('\n').slice(-3).join(' / ');
      reject(new Error(`${title} ended (status ${status}) without ${missing}: ${last}`));
    });
  });
}
