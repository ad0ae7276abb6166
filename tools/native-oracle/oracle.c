/*
 * Runs single instructions on the host's own processor and reports what they did.
 *
 * Reads cases from standard input, writes results to standard output, both as fixed-size binary
 * records (little-endian), until the input ends. The code lies in a page of INT3, so wherever an
 * instruction goes there, the next thing is a breakpoint; every case ends in a signal, whose frame
 * holds the whole user-visible state, 64-bit or not. Data lies across the border of two pages.
 *
 * 32-bit code runs in the kernel's compatibility segment, 16-bit code in segments of a local
 * descriptor table: code with base CODE_BASE, data and stack with base DATA_PAGE, with the limits
 * and kinds of the case.
 */
#define _GNU_SOURCE
#include <asm/ldt.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <ucontext.h>
#include <unistd.h>

#define CODE_BASE 0x200000ul
#define CODE_AT 0x800ul
#define CODE_SIZE 4096
#define DATA_PAGE 0x300000ul
#define DATA_PAGES 8192
#define DATA_AT 0xf80ul
#define DATA_SIZE 1024
#define INT3 0xcc
#define CODE_LIMIT 32
/* Seconds of processor time after which a case is given up: it runs in a circle. */
#define PATIENCE 2
#define STUCK 255
#define STACK_SIZE (1 << 17)

struct state {
  uint64_t gpr[16]; /* in order of encoding */
  uint64_t rflags;
  uint64_t rip;
  uint8_t fx[512]; /* as FXSAVE64 stores it */
  uint8_t data[DATA_SIZE];
};

/* Segments of 16-bit code, by their entries of the local descriptor table. */
enum { LDT_CODE, LDT_STACK, LDT_DATA = 3, SEGMENTS = 3 };
#define EXPAND_DOWN 1
#define READ_ONLY 2
#define BIG 4

struct request {
  uint32_t length;
  uint32_t bits; /* 64, 32 or 16 */
  struct {
    uint32_t limit;
    uint32_t kind;
  } segments[SEGMENTS]; /* code, stack, data */
  uint8_t code[CODE_LIMIT];
  struct state in;
};

struct reply {
  uint32_t vector;
  uint32_t error;
  uint64_t address; /* of a page fault */
  uint16_t selectors[8]; /* in order of encoding, six of them */
  struct state out;
};

struct state current __attribute__((aligned(64)));
/* Where to go: a far pointer for the modes that need another code segment. */
uint64_t near_target = CODE_BASE + CODE_AT;
struct {
  uint32_t offset;
  uint16_t selector;
} __attribute__((packed)) far_target;
uint32_t is_far, stack_selector, data_selector;
static sigjmp_buf escape;
/* A case is running: signals are its. */
static volatile sig_atomic_t inside;
static struct reply reply;

void enter(void);

__asm__(
    ".globl enter\n"
    "enter:\n"
    "  fxrstor64 current+144(%rip)\n"
    "  mov data_selector(%rip), %eax\n"
    "  mov %eax, %ds\n  mov %eax, %es\n"
    "  mov stack_selector(%rip), %eax\n"
    "  push current+128(%rip)\n  popf\n"
    "  mov current+16(%rip), %rdx\n  mov current+24(%rip), %rbx\n"
    "  mov current+40(%rip), %rbp\n  mov current+48(%rip), %rsi\n"
    "  mov current+56(%rip), %rdi\n  mov current+64(%rip), %r8\n"
    "  mov current+72(%rip), %r9\n  mov current+80(%rip), %r10\n"
    "  mov current+88(%rip), %r11\n  mov current+96(%rip), %r12\n"
    "  mov current+104(%rip), %r13\n  mov current+112(%rip), %r14\n"
    "  mov current+120(%rip), %r15\n"
    "  mov %eax, %ss\n  mov current+32(%rip), %rsp\n"
    "  mov is_far(%rip), %ecx\n  jrcxz 1f\n"
    "  mov current+8(%rip), %rcx\n  mov current+0(%rip), %rax\n"
    "  ljmp *far_target(%rip)\n"
    "1: mov current+8(%rip), %rcx\n  mov current+0(%rip), %rax\n"
    "  jmp *near_target(%rip)\n");

static const int ORDER[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
                              REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
                              REG_R12, REG_R13, REG_R14, REG_R15};

static void on_signal(int number, siginfo_t *info, void *context) {
  /* A case may have asked for alignment checks; the kernel leaves them on. */
  __asm__ volatile("pushf\n  andl $~0x40000, (%%rsp)\n  popf" ::: "cc", "memory");
  const mcontext_t *machine = &((ucontext_t *)context)->uc_mcontext;
  (void)info;
  if (!inside) {
    if (number == SIGVTALRM) return;
    _exit(3);
  }
  inside = 0;
  reply.vector = (uint32_t)machine->gregs[REG_TRAPNO];
  reply.error = (uint32_t)machine->gregs[REG_ERR];
  reply.address = (uint64_t)machine->gregs[REG_CR2];
  if (number == SIGVTALRM) reply.vector = STUCK;
  for (int i = 0; i < 16; i++) current.gpr[i] = (uint64_t)machine->gregs[ORDER[i]];
  current.rflags = (uint64_t)machine->gregs[REG_EFL];
  current.rip = (uint64_t)machine->gregs[REG_RIP];
  /* Signals leave DS and ES alone; the frame keeps the others. */
  const uint64_t kept = (uint64_t)machine->gregs[REG_CSGSFS];
  __asm__ volatile("mov %%es, %0" : "=r"(reply.selectors[0]));
  __asm__ volatile("mov %%ds, %0" : "=r"(reply.selectors[3]));
  reply.selectors[1] = (uint16_t)kept;
  reply.selectors[2] = (uint16_t)(kept >> 48);
  reply.selectors[4] = (uint16_t)(kept >> 32);
  reply.selectors[5] = (uint16_t)(kept >> 16);
  memcpy(current.fx, machine->fpregs, sizeof current.fx);
  siglongjmp(escape, 1);
}

static void choose_segments(uint32_t bits) {
  is_far = bits != 64;
  stack_selector = bits == 16 ? 0x0f : 0x2b;
  data_selector = bits == 16 ? 0x1f : 0x2b;
  far_target.selector = bits == 16 ? 0x07 : 0x23;
  far_target.offset = bits == 16 ? CODE_AT : CODE_BASE + CODE_AT;
}

static void make_segment(const struct request *request, int index, unsigned entry) {
  const uint32_t kind = request->segments[index].kind;
  const int is_code = entry == LDT_CODE;
  struct user_desc descriptor = {
      .entry_number = entry,
      .base_addr = is_code ? CODE_BASE : DATA_PAGE,
      .limit = request->segments[index].limit,
      .contents = is_code                    ? MODIFY_LDT_CONTENTS_CODE
                  : (kind & EXPAND_DOWN) != 0 ? MODIFY_LDT_CONTENTS_STACK
                                              : MODIFY_LDT_CONTENTS_DATA,
      .read_exec_only = (kind & READ_ONLY) != 0,
      .seg_32bit = (kind & BIG) != 0,
      .useable = 1};
  if (syscall(SYS_modify_ldt, 0x11, &descriptor, sizeof descriptor) != 0) _exit(5);
}

static void make_segments(const struct request *request) {
  make_segment(request, 0, LDT_CODE);
  make_segment(request, 1, LDT_STACK);
  make_segment(request, 2, LDT_DATA);
}

static void run(const struct request *request, uint8_t *code, uint8_t *data) {
  memset(code, INT3, CODE_SIZE);
  memcpy(code + CODE_AT, request->code, request->length);
  memset(data, 0, DATA_PAGES);
  memcpy(data + DATA_AT, request->in.data, DATA_SIZE);
  current = request->in;
  memset(&reply, 0, sizeof reply);
  choose_segments(request->bits);
  make_segments(request);
  const struct itimerval patience = {.it_value = {.tv_sec = PATIENCE}};
  setitimer(ITIMER_VIRTUAL, &patience, NULL);
  inside = 1;
  if (sigsetjmp(escape, 1) == 0) enter();
  if (reply.vector == 3) current.rip--;
  reply.out = current;
  memcpy(reply.out.data, data + DATA_AT, DATA_SIZE);
}

int main(void) {
  const int rwx = PROT_READ | PROT_WRITE | PROT_EXEC;
  const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
  uint8_t *code = mmap((void *)CODE_BASE, CODE_SIZE, rwx, flags, -1, 0);
  uint8_t *data = mmap((void *)DATA_PAGE, DATA_PAGES, PROT_READ | PROT_WRITE, flags, -1, 0);
  if (code == MAP_FAILED || data == MAP_FAILED) return 1;
  /*
   * High up, where no register of a case points: with its stack pointer in there the kernel would
   * take the case for a handler.
   */
  const int anywhere = MAP_PRIVATE | MAP_ANONYMOUS;
  void *stack = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE, anywhere, -1, 0);
  if (stack == MAP_FAILED) return 1;
  stack_t alternate = {.ss_sp = stack, .ss_size = STACK_SIZE};
  sigaltstack(&alternate, NULL);
  struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK};
  const int signals[] = {SIGSEGV, SIGILL, SIGFPE, SIGBUS, SIGTRAP, SIGVTALRM};
  for (unsigned i = 0; i < sizeof signals / sizeof *signals; i++) {
    sigaction(signals[i], &action, NULL);
  }
  static struct request request;
  while (fread(&request, sizeof request, 1, stdin) == 1) {
    if (request.length > CODE_LIMIT) return 2;
    run(&request, code, data);
    fwrite(&reply, sizeof reply, 1, stdout);
  }
  return 0;
}
