/*
 * Runs instruction bytes on the host's own processor and reports what they did.
 *
 * Reads cases from standard input, writes results to standard output, both as fixed-size binary
 * records (little-endian), until the input ends. Code runs at CODE_BASE; DATA_BASE holds the data of
 * the case. A fault is reported by its signal, trap number and registers at the fault.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#define CODE_BASE 0x200000ul
#define DATA_BASE 0x300000ul
#define DATA_SIZE 256

struct state {
  uint64_t gpr[16]; /* in order of encoding */
  uint64_t rflags;
  uint64_t rip;
  uint8_t xmm[16][16];
  uint32_t mxcsr;
  uint32_t reserved;
  uint8_t data[DATA_SIZE];
};

struct request {
  uint32_t length;
  uint32_t reserved;
  uint8_t code[24];
  struct state in;
};

struct reply {
  uint32_t signal;
  uint32_t trap;
  struct state out;
};

struct state current;
uint64_t host_rsp;
static sigjmp_buf escape;
static struct reply reply;

void enter(void);
void leave(void);

__asm__(
    ".globl enter\n"
    "enter:\n"
    "  push %rbx\n  push %rbp\n  push %r12\n  push %r13\n  push %r14\n  push %r15\n"
    "  mov %rsp, host_rsp(%rip)\n"
    "  ldmxcsr current+400(%rip)\n"
    "  movups current+144(%rip), %xmm0\n  movups current+160(%rip), %xmm1\n"
    "  movups current+176(%rip), %xmm2\n  movups current+192(%rip), %xmm3\n"
    "  movups current+208(%rip), %xmm4\n  movups current+224(%rip), %xmm5\n"
    "  movups current+240(%rip), %xmm6\n  movups current+256(%rip), %xmm7\n"
    "  movups current+272(%rip), %xmm8\n  movups current+288(%rip), %xmm9\n"
    "  movups current+304(%rip), %xmm10\n  movups current+320(%rip), %xmm11\n"
    "  movups current+336(%rip), %xmm12\n  movups current+352(%rip), %xmm13\n"
    "  movups current+368(%rip), %xmm14\n  movups current+384(%rip), %xmm15\n"
    "  push current+128(%rip)\n  popf\n"
    "  mov current+0(%rip), %rax\n  mov current+8(%rip), %rcx\n  mov current+16(%rip), %rdx\n"
    "  mov current+24(%rip), %rbx\n  mov current+32(%rip), %rsp\n  mov current+40(%rip), %rbp\n"
    "  mov current+48(%rip), %rsi\n  mov current+56(%rip), %rdi\n  mov current+64(%rip), %r8\n"
    "  mov current+72(%rip), %r9\n  mov current+80(%rip), %r10\n  mov current+88(%rip), %r11\n"
    "  mov current+96(%rip), %r12\n  mov current+104(%rip), %r13\n  mov current+112(%rip), %r14\n"
    "  mov current+120(%rip), %r15\n"
    "  jmp *code_base(%rip)\n"
    ".globl leave\n"
    "leave:\n"
    "  mov %rsp, current+32(%rip)\n"
    "  mov host_rsp(%rip), %rsp\n"
    "  pushf\n  pop current+128(%rip)\n  cld\n"
    "  mov %rax, current+0(%rip)\n  mov %rcx, current+8(%rip)\n  mov %rdx, current+16(%rip)\n"
    "  mov %rbx, current+24(%rip)\n  mov %rbp, current+40(%rip)\n  mov %rsi, current+48(%rip)\n"
    "  mov %rdi, current+56(%rip)\n  mov %r8, current+64(%rip)\n  mov %r9, current+72(%rip)\n"
    "  mov %r10, current+80(%rip)\n  mov %r11, current+88(%rip)\n  mov %r12, current+96(%rip)\n"
    "  mov %r13, current+104(%rip)\n  mov %r14, current+112(%rip)\n  mov %r15, current+120(%rip)\n"
    "  movups %xmm0, current+144(%rip)\n  movups %xmm1, current+160(%rip)\n"
    "  movups %xmm2, current+176(%rip)\n  movups %xmm3, current+192(%rip)\n"
    "  movups %xmm4, current+208(%rip)\n  movups %xmm5, current+224(%rip)\n"
    "  movups %xmm6, current+240(%rip)\n  movups %xmm7, current+256(%rip)\n"
    "  movups %xmm8, current+272(%rip)\n  movups %xmm9, current+288(%rip)\n"
    "  movups %xmm10, current+304(%rip)\n  movups %xmm11, current+320(%rip)\n"
    "  movups %xmm12, current+336(%rip)\n  movups %xmm13, current+352(%rip)\n"
    "  movups %xmm14, current+368(%rip)\n  movups %xmm15, current+384(%rip)\n"
    "  stmxcsr current+400(%rip)\n"
    "  pop %r15\n  pop %r14\n  pop %r13\n  pop %r12\n  pop %rbp\n  pop %rbx\n"
    "  ret\n");

uint64_t code_base = CODE_BASE;

static const int ORDER[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
                              REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
                              REG_R12, REG_R13, REG_R14, REG_R15};

static void on_fault(int number, siginfo_t *info, void *context) {
  ucontext_t *user = context;
  (void)info;
  reply.signal = (uint32_t)number;
  reply.trap = (uint32_t)user->uc_mcontext.gregs[REG_TRAPNO];
  for (int i = 0; i < 16; i++) current.gpr[i] = (uint64_t)user->uc_mcontext.gregs[ORDER[i]];
  current.rflags = (uint64_t)user->uc_mcontext.gregs[REG_EFL];
  current.rip = (uint64_t)user->uc_mcontext.gregs[REG_RIP];
  memcpy(current.xmm, user->uc_mcontext.fpregs->_xmm, sizeof current.xmm);
  current.mxcsr = user->uc_mcontext.fpregs->mxcsr;
  siglongjmp(escape, 1);
}

static void run(const struct request *request, uint8_t *code, uint8_t *data) {
  /* The code, then a jump through a pointer behind it. */
  memset(code, 0xcc, 64);
  memcpy(code, request->code, request->length);
  uint8_t *tail = code + request->length;
  const uint8_t jump[6] = {0xff, 0x25, 0, 0, 0, 0};
  memcpy(tail, jump, sizeof jump);
  void (*back)(void) = leave;
  memcpy(tail + 6, &back, 8);
  current = request->in;
  memcpy(data, request->in.data, DATA_SIZE);
  memset(&reply, 0, sizeof reply);
  if (sigsetjmp(escape, 1) == 0) {
    enter();
    current.rip = CODE_BASE + request->length;
  }
  reply.out = current;
  memcpy(reply.out.data, data, DATA_SIZE);
}

int main(void) {
  const int rwx = PROT_READ | PROT_WRITE | PROT_EXEC;
  const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
  uint8_t *code = mmap((void *)CODE_BASE, 4096, rwx, flags, -1, 0);
  uint8_t *data = mmap((void *)DATA_BASE, 8192, PROT_READ | PROT_WRITE, flags, -1, 0);
  if (code == MAP_FAILED || data == MAP_FAILED) return 1;
  stack_t alternate = {.ss_sp = malloc(65536), .ss_size = 65536};
  sigaltstack(&alternate, NULL);
  struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
  const int signals[] = {SIGSEGV, SIGILL, SIGFPE, SIGBUS, SIGTRAP};
  for (unsigned i = 0; i < sizeof signals / sizeof *signals; i++) {
    sigaction(signals[i], &action, NULL);
  }
  static struct request request;
  while (fread(&request, sizeof request, 1, stdin) == 1) {
    run(&request, code, data);
    fwrite(&reply, sizeof reply, 1, stdout);
  }
  return 0;
}
