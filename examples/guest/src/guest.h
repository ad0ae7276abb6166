/* The guest's types, and what its files give one another. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "asm.h"

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int8_t s8;
typedef int16_t s16;
typedef int32_t s32;
typedef int64_t s64;

#define PAGE_SIZE 4096
#define SHARED __attribute__((section(".shared"), aligned(PAGE_SIZE)))

/* What a gate of the later IDT leaves on the stack (traps.s). */
struct frame {
	u64 reg[16]; /* by the manual's numbers: RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8.. */
	u64 vector, error, rip, cs, rflags, rsp, ss;
};

enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI };

/* What the guest found out about its machine (detect.c). */
struct machine {
	bool amd;
	u64 sev_status; /* MSR C001_0131: bit 0 SEV, 1 SEV-ES */
	u64 c_bit;      /* a mask; 0 without SEV */
	char vendor[13];
	char hypervisor[13];
	u32 ghcb_min, ghcb_max, ghcb_version;
	u64 ghcb_features;
	u64 ram_end; /* of the RAM below 4 GiB */
	bool openbsd; /* the host knows CPUID, IOIO without strings, and MSR, and nothing else */
};

extern struct machine machine;
extern u32 entry_kind, compat_cpuid, tentative_vcs;

static inline bool sev(void) { return machine.sev_status & 1; }
static inline bool sev_es(void) { return machine.sev_status & 2; }

/* detect.c */
void detect(const u8 *boot_params);

/* paging.c */
void paging_start(void);
u64 physical(u64 address);
void set_private(void *page, bool private);

/* trap.c */
void traps_start(void);
bool reflect(struct frame *frame, u32 vector);
int rdmsr_safe(u32 index, u64 *value);
int wrmsr_safe(u32 index, u64 value);
int write_dr7_safe(u64 value);

/* vc.c */
extern u64 vc_count;
void vc_report(void);
void handle_vc(struct frame *frame);

/* instruction.c: what stands at RIP, as far as #VC needs it. */
struct instruction {
	u8 length;
	u8 prefix_66, prefix_rep;
	u8 rex;
	u16 opcode; /* 0x0f?? for the two-byte ones */
	u8 mod, reg, rm; /* of ModRM; REX is in reg, not in rm */
	bool rip_relative;
	u64 address; /* of its memory operand */
	u64 immediate;
};
void decode(struct instruction *in, const struct frame *frame);

/* mmio.c */
void handle_mmio(struct frame *frame, const struct instruction *in);

/* patch.c */
u32 patch_io(bool paravirtual);
extern bool paravirtual_io;

/* console.c */
void console_start(void);
void put(const char *text);
void put_char(char c);
void put_number(u64 value);
void put_hex(u64 value);
void line(const char *name, const char *text);

/* options.c */
void options_start(const u8 *boot_params);
bool option(const char *name, const char **value);
u64 option_number(const char *name, u64 otherwise);
u64 parse_number(const char **text);
bool option_lists(const char *name, const char *word);
const char *command_line(void);

enum result { OK, FAILED, SKIPPED };
struct verdict {
	enum result result;
	const char *why;
};

/* timer.c */
void timer_interrupt(void);
struct verdict check_timer(void);

/* checks.c, virtio.c, clock.c, outs.c, fuzz.c */
struct verdict check_bounce(void);
struct verdict check_private_dma(void);
struct verdict check_clock(void);
u32 run_checks(void);
void run_outs(u64 count);
void run_fuzz(u64 seed, u64 count, bool wild);
void run_plant(u64 value, u64 count);

/* memory.c */
void *memset(void *to, int value, size_t size);
void *memcpy(void *to, const void *from, size_t size);
int memcmp(const void *a, const void *b, size_t size);
size_t strlen(const char *text);

/* power.c */
_Noreturn void power_off(void);
_Noreturn void fail(u32 status);
