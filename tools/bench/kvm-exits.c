// A VMM in C for comparison: one vCPU in real mode that leaves by OUT or by a store to an address
// without memory, again and again; each exit is looked at as a device would.
//
//   kvm-exits pio|mmio COUNT      prints seconds of the clock and of the processor
//
// Source: Linux Documentation/virt/kvm/api.rst.
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>

enum { SIZE = 1 << 20, CODE = 0x1000 };

static double seconds(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return t.tv_sec + t.tv_nsec / 1e9;
}

static void fail(const char *what) {
  perror(what);
  exit(1);
}

int main(int count, char **words) {
  // out dx, al | mov [0xf000:0], al; then dec ecx; jnz; out 0x99, al
  static const uint8_t pio[] = {0xee, 0x66, 0x49, 0x75, 0xfb, 0xe6, 0x99};
  static const uint8_t mmio[] = {0xa2, 0x00, 0x00, 0x66, 0x49, 0x75, 0xf9, 0xe6, 0x99};
  if (count < 3) return 2;
  int is_pio = strcmp(words[1], "pio") == 0;
  long wanted = atol(words[2]);
  int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
  if (kvm < 0) fail("/dev/kvm");
  int vm = ioctl(kvm, KVM_CREATE_VM, 0);
  uint8_t *ram = mmap(0, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (is_pio) memcpy(ram + CODE, pio, sizeof pio);
  else memcpy(ram + CODE, mmio, sizeof mmio);
  struct kvm_userspace_memory_region slot = {
      .guest_phys_addr = 0, .memory_size = SIZE, .userspace_addr = (uintptr_t)ram};
  if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &slot) < 0) fail("slot");
  int cpu = ioctl(vm, KVM_CREATE_VCPU, 0);
  int size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
  struct kvm_run *run = mmap(0, size, PROT_READ | PROT_WRITE, MAP_SHARED, cpu, 0);
  struct kvm_sregs sregs;
  ioctl(cpu, KVM_GET_SREGS, &sregs);
  sregs.cs.base = sregs.cs.selector = 0;
  sregs.ds.base = 0x100000;
  if (ioctl(cpu, KVM_SET_SREGS, &sregs) < 0) fail("sregs");
  struct kvm_regs regs = {.rip = CODE, .rcx = wanted, .rdx = 0x80, .rax = 0x55, .rflags = 2};
  if (ioctl(cpu, KVM_SET_REGS, &regs) < 0) fail("regs");
  unsigned long sum = 0;
  double wall = seconds(CLOCK_MONOTONIC), used = seconds(CLOCK_PROCESS_CPUTIME_ID);
  for (;;) {
    if (ioctl(cpu, KVM_RUN, 0) < 0) fail("run");
    if (run->exit_reason == KVM_EXIT_IO) {
      if (run->io.port == 0x99) break;
      sum += ((uint8_t *)run)[run->io.data_offset];
    } else if (run->exit_reason == KVM_EXIT_MMIO) sum += run->mmio.data[0];
    else return 1;
  }
  wall = seconds(CLOCK_MONOTONIC) - wall;
  used = seconds(CLOCK_PROCESS_CPUTIME_ID) - used;
  printf("%.6f %.6f %lu\n", wall, used, sum);
  return 0;
}
