/**
 * What is used of Linux besides KVM: system call numbers of x86-64, flags and structs.
 *
 * Source: arch/x86/include/generated/uapi/asm/unistd_64.h, include/uapi/asm-generic/{mman,fcntl,
 * siginfo,signal,poll}.h, include/uapi/linux/{memfd,time,if_tun}.h,
 * eventfd(2), and the manual pages named.
 */
import { struct } from './struct.js';

/** `__NR_…` */
export const NR = {
  read: 0,
  write: 1,
  close: 3,
  poll: 7,
  lseek: 8,
  mmap: 9,
  mprotect: 10,
  munmap: 11,
  rt_sigaction: 13,
  rt_sigprocmask: 14,
  ioctl: 16,
  getpid: 39,
  ftruncate: 77,
  gettid: 186,
  rt_sigtimedwait: 128,
  timer_create: 222,
  timer_settime: 223,
  timer_delete: 226,
  epoll_ctl: 233,
  tgkill: 234,
  openat: 257,
  fallocate: 285,
  eventfd2: 290,
  epoll_create1: 291,
  pipe2: 293,
  memfd_create: 319,
} as const;

export const AT_FDCWD = -100;
export const O_RDWR = 2;
export const O_NONBLOCK = 0o4000;
export const O_CLOEXEC = 0o2000000;
export const EFD_CLOEXEC = 0o2000000;
export const EFD_NONBLOCK = 0o4000;
export const MFD_CLOEXEC = 1;
export const SEEK_DATA = 3;
export const SEEK_HOLE = 4;
export const FALLOC_FL_KEEP_SIZE = 1;
export const FALLOC_FL_PUNCH_HOLE = 2;
export const PROT_READ = 1;
export const PROT_WRITE = 2;
export const PROT_EXEC = 4;
export const MAP_SHARED = 1;
export const MAP_PRIVATE = 2;
export const MAP_FIXED = 0x10;
export const MAP_ANONYMOUS = 0x20;
export const MAP_NORESERVE = 0x4000;
export const SIG_BLOCK = 0;
export const SIG_UNBLOCK = 1;
export const SIG_IGN = 1;
export const SA_RESTORER = 0x04000000;
export const SA_RESTART = 0x10000000;
export const CLOCK_MONOTONIC = 1;
export const SIGEV_THREAD_ID = 4;
/** `si_code` of a POSIX timer's signal; tgkill's is -6. */
export const SI_TIMER = -2;

/** poll(2): there is something to read. */
export const POLLIN = 1;

export const EPOLL_CTL_ADD = 1;
export const EPOLL_CTL_DEL = 2;
export const EPOLLIN = 1;

export const EPOLL_EVENT = struct('epoll_event', { events: 'u32', data: 'u64' }, { packed: true });

/** Error numbers that are told apart, by name. */
export const ERRNO = {
  EPERM: 1,
  ENOENT: 2,
  ESRCH: 3,
  EINTR: 4,
  EIO: 5,
  E2BIG: 7,
  EBADF: 9,
  EAGAIN: 11,
  ENOMEM: 12,
  EACCES: 13,
  EFAULT: 14,
  EBUSY: 16,
  EEXIST: 17,
  ENODEV: 19,
  EINVAL: 22,
  EMFILE: 24,
  ENOTTY: 25,
  ENOSPC: 28,
  EOPNOTSUPP: 95,
} as const;

export const TIMESPEC = struct('__kernel_timespec', { tv_sec: 's64', tv_nsec: 's64' });

export const ITIMERSPEC = struct('__kernel_itimerspec', {
  it_interval: TIMESPEC,
  it_value: TIMESPEC,
});

/** What the system call rt_sigaction takes; not libc's. */
export const SIGACTION = struct('sigaction', {
  sa_handler: 'u64',
  sa_flags: 'u64',
  sa_restorer: 'u64',
  sa_mask: 'u64',
});

/** The signal's number and code; the rest is not read. */
export const SIGINFO = struct(
  'siginfo',
  { si_signo: 's32', si_errno: 's32', si_code: 's32' },
  { size: 128 },
);

/** timer_create(2) with SIGEV_THREAD_ID: the thread that is told. */
export const SIGEVENT = struct(
  'sigevent',
  { sigev_value: 'u64', sigev_signo: 's32', sigev_notify: 's32', tid: 's32' },
  { size: 64 },
);

export const POLLFD = struct('pollfd', { fd: 's32', events: 'u16', revents: 'u16' });

/** include/uapi/linux/if_tun.h: makes a TAP of an open /dev/net/tun, and with which flags. */
export const TUNSETIFF = 0x400454ca;
export const IFF_TAP = 0x0002;
export const IFF_NO_PI = 0x1000;
