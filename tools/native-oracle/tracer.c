/*
 * Runs small programs on the host's own processor with debug registers and RFLAGS.TF set, and
 * reports where they trapped.
 *
 * Reads programs from standard input, writes the traps to standard output, both as fixed-size
 * binary records (little-endian). A child process executes them; its parent traces it. The program
 * lies in a page of INT3, so that it ends in a breakpoint.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#define CODE_BASE 0x200000ul
#define CODE_AT 0x800ul
#define CODE_SIZE 4096
#define DATA_PAGE 0x300000ul
#define DATA_SIZE 8192
#define CODE_LIMIT 64
#define STOPS 48
#define INT3 0xcc

struct program {
  uint64_t breakpoints[4];
  uint64_t dr7;
  uint64_t gpr[8]; /* in order of encoding */
  uint64_t rflags;
  uint32_t length;
  uint32_t data; /* what every four bytes of the data pages hold */
  uint8_t code[CODE_LIMIT];
};

struct stop {
  uint64_t rip;
  uint32_t dr6;
  uint32_t rflags;
  uint32_t signal;
  uint32_t unused;
};

struct report {
  uint32_t failed; /* errno of the debug registers */
  uint32_t count;
  struct stop stops[STOPS];
};

static long debug_register(pid_t child, int number, unsigned long value) {
  const size_t at = offsetof(struct user, u_debugreg) + number * sizeof(long);
  return ptrace(PTRACE_POKEUSER, child, at, value);
}

static void prepare(pid_t child, const struct program *program, uint8_t *code, uint8_t *data) {
  memset(code, INT3, CODE_SIZE);
  memcpy(code + CODE_AT, program->code, program->length);
  for (size_t i = 0; i < DATA_SIZE; i += 4) memcpy(data + i, &program->data, 4);
  struct user_regs_struct registers;
  ptrace(PTRACE_GETREGS, child, NULL, &registers);
  registers.rax = program->gpr[0];
  registers.rcx = program->gpr[1];
  registers.rdx = program->gpr[2];
  registers.rbx = program->gpr[3];
  registers.rsp = program->gpr[4];
  registers.rbp = program->gpr[5];
  registers.rsi = program->gpr[6];
  registers.rdi = program->gpr[7];
  registers.eflags = program->rflags;
  registers.rip = CODE_BASE + CODE_AT;
  registers.orig_rax = -1;
  ptrace(PTRACE_SETREGS, child, NULL, &registers);
}

static int arm(pid_t child, const struct program *program) {
  debug_register(child, 7, 0);
  debug_register(child, 6, 0);
  for (int i = 0; i < 4; i++) {
    if (debug_register(child, i, program->breakpoints[i]) != 0) return errno;
  }
  return debug_register(child, 7, program->dr7) == 0 ? 0 : errno;
}

static void run(pid_t child, const struct program *program, struct report *report) {
  const uint64_t end = CODE_BASE + CODE_AT + program->length;
  while (report->count < STOPS) {
    int status;
    struct user_regs_struct registers;
    ptrace(PTRACE_CONT, child, NULL, NULL);
    if (waitpid(child, &status, 0) != child || !WIFSTOPPED(status)) _exit(4);
    ptrace(PTRACE_GETREGS, child, NULL, &registers);
    const size_t at = offsetof(struct user, u_debugreg) + 6 * sizeof(long);
    struct stop *stop = &report->stops[report->count];
    stop->rip = registers.rip;
    stop->dr6 = (uint32_t)ptrace(PTRACE_PEEKUSER, child, at, NULL);
    stop->rflags = (uint32_t)registers.eflags;
    stop->signal = (uint32_t)WSTOPSIG(status);
    debug_register(child, 6, 0);
    if (stop->signal != SIGTRAP || (registers.rip == end + 1 && stop->dr6 == 0)) return;
    report->count++;
  }
}

int main(void) {
  const int rwx = PROT_READ | PROT_WRITE | PROT_EXEC;
  const int flags = MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
  uint8_t *code = mmap((void *)CODE_BASE, CODE_SIZE, rwx, flags, -1, 0);
  uint8_t *data = mmap((void *)DATA_PAGE, DATA_SIZE, PROT_READ | PROT_WRITE, flags, -1, 0);
  if (code == MAP_FAILED || data == MAP_FAILED) return 1;
  const pid_t child = fork();
  if (child == 0) {
    /* Page faults would leave RF behind: none is to come. */
    memset(code, INT3, CODE_SIZE);
    memset(data, 0, DATA_SIZE);
    ptrace(PTRACE_TRACEME, 0, NULL, NULL);
    raise(SIGSTOP);
    _exit(0);
  }
  waitpid(child, NULL, 0);
  ptrace(PTRACE_SETOPTIONS, child, NULL, PTRACE_O_EXITKILL);
  static struct program program;
  while (fread(&program, sizeof program, 1, stdin) == 1) {
    if (program.length > CODE_LIMIT) return 2;
    static struct report report;
    memset(&report, 0, sizeof report);
    prepare(child, &program, code, data);
    report.failed = (uint32_t)arm(child, &program);
    if (report.failed == 0) run(child, &program, &report);
    fwrite(&report, sizeof report, 1, stdout);
  }
  kill(child, SIGKILL);
  return 0;
}
