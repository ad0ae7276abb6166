// Debian's unmodified cloud kernel as an SEV-ES guest of vmm(4)'s profile: ES-21. It ends where
// vmm(4) would end it, with the reason, and says nothing before.
import { afterEach, describe, expect, test } from 'vitest';
import { cloister, endAll } from './lib/command.js';
import { COMMAND_LINE, debian, type Guest, skipped } from './lib/guests.js';

const cloud = await debian();

afterEach(endAll);

describe.skipIf(typeof cloud === 'string')(`Debian on vmm(4)${skipped(cloud)}`, () => {
  const guest = cloud as Guest;

  test.each(['64', '32'])('ES-21: entry %s ends at SEV_INFO with EINVAL', async (entry) => {
    const words = `--protect sev-es --sev-host openbsd --entry ${entry} --memory 256M --seed 1`;
    const options = [...words.split(' '), '--timeout', '120'];
    const files = ['--kernel', guest.kernelPath, '--append', `${COMMAND_LINE} earlyprintk=ttyS0`];
    const { status, stdout, stderr } = await cloister(['run', ...files, ...options]);
    expect(stdout.toString('latin1')).toBe('');
    expect(stderr).toContain('vmm(4) has no answer to GHCB MSR request 2h (EINVAL)');
    // CPUID by the MSR protocol it answers, until Linux asks for versions.
    expect(stderr).toMatch(/GHCB MSR requests +CPUID_REQUEST \d+, SEV_INFO_REQUEST 1$/m);
    expect(stderr).toMatch(/GHCB events +none$/m);
    expect(status).not.toBe(0);
  });
});
