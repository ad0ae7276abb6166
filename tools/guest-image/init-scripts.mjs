// The init scripts that `npm start`, tests and benchmarks boot.

const MOUNTS = `#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
`;

const GREETING = `echo
echo "Hello from user space: $(uname -srm)"
grep -m 1 'model name' /proc/cpuinfo
`;

/** Says that user space is reached, then switches off. */
export const BOOT_OK = `${MOUNTS}${GREETING}echo BOOT-OK
poweroff -f
`;

/** Says what the kernel makes of the processor: flags, vulnerabilities, and its own messages. */
export const CPU_REPORT = `${MOUNTS}echo
cd /sys/devices/system/cpu/vulnerabilities
for name in *; do echo "vulnerability $name: $(cat $name)"; done
grep -m 1 '^flags' /proc/cpuinfo
echo "CPUs $(nproc)"
dmesg | grep -i -E 'mitigation|retpoline|return thunk|speculat' | sed 's/^/message /'
echo BOOT-OK
poweroff -f
`;

/** `BOOT_OK` with a restart in place of the power switch (for machines that have none). */
export const BOOT_OK_REBOOT = BOOT_OK.replace('poweroff -f', 'reboot -f');

/** A shell on the console; leaving it switches the machine off. */
export const SHELL = `${MOUNTS}${GREETING}echo "'exit' switches the machine off."
cd /root
export HOME=/root PS1='guest# '
setsid cttyhack sh
poweroff -f
`;
