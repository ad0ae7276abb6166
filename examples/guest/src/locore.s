# The guest's first instructions: three entries, and the #VC handler that they need.
#
#   entry32   +0x000   32-bit protected mode, paging off (Linux's 32-bit boot protocol)
#   compat    +0x100   compatibility mode, paging on: long mode with a 32-bit CS, as OpenBSD's vmd
#                      enters a kernel that it loads itself
#   entry64   +0x200   64-bit mode (Linux's 64-bit boot protocol)
#
# Each has the address of boot_params in ESI or RSI. CPUID is intercepted, and under SEV-ES that is
# a #VC: so an IDT comes before the first CPUID, with a handler that needs no GHCB. It can answer
# CPUID alone, by four requests of the MSR protocol. Without SEV-ES nothing ever calls it.
#
# What is not launched is noise under the C-bit: the .bss is zeroed before it is used.
#
# Source: AMD APM vol. 2 (24593), 15.35; GHCB specification (56421), 2.3 and 4.1.

#include "asm.h"

        .section .locore, "ax"
        .code32
        .globl  entry32
locore:
entry32:
        cli
        cld
        lgdt    gdt_pointer
        ljmp    $CODE32, $1f
1:      mov     $DATA, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %ss
        mov     $2f, %ebx
        jmp     clear32
2:      movl    $ENTRY_32, entry_kind
        lidt    idt32_pointer
        jmp     find_c_bit

        .org    0x100
compat:
        cli
        cld
        lgdt    gdt_pointer
        mov     $DATA, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %ss
        mov     $2f, %ebx
        jmp     clear32
2:      movl    $ENTRY_COMPAT, entry_kind
        lidt    idt64_pointer
        # A CPUID of 32-bit code, answered by 64-bit code: the gate's selector is CODE64.
        mov     $0x80000000, %eax
        cpuid
        mov     %eax, compat_cpuid
        ljmp    $CODE64, $start64

        .org    0x200
        .code64
entry64:
        cli
        cld
        lgdt    gdt_pointer
        mov     %esi, %ebp
        mov     $bss_start, %edi
        mov     $bss_dwords, %ecx
        xor     %eax, %eax
        rep stosl
        movl    $ENTRY_64, entry_kind
        mov     $stack_top, %esp
        pushq   $CODE64
        pushq   $start64
        lretq

        .code32
# Keeps ESI in EBP, zeroes the .bss, and gives a stack in it; returns to EBX.
clear32:
        mov     %esi, %ebp
        mov     $bss_start, %edi
        mov     $bss_dwords, %ecx
        xor     %eax, %eax
        rep stosl
        mov     $stack_top, %esp
        jmp     *%ebx

# EDI: the upper half of a table entry that has the C-bit, 0 where there is no SEV.
find_c_bit:
        xor     %edi, %edi
        xor     %eax, %eax
        cpuid
        cmp     $0x68747541, %ebx       # Auth
        jne     tables
        cmp     $0x69746e65, %edx       # enti
        jne     tables
        cmp     $0x444d4163, %ecx       # cAMD
        jne     tables
        mov     $0x80000000, %eax
        cpuid
        cmp     $CPUID_ENCRYPTION, %eax
        jb      tables
        mov     $CPUID_ENCRYPTION, %eax
        xor     %ecx, %ecx
        cpuid
        test    $2, %al                 # SEV
        jz      tables
        mov     $MSR_SEV_STATUS, %ecx
        rdmsr
        test    $1, %al
        jz      tables
        lea     -32(%ebx), %ecx         # SHL takes five bits of it
        mov     $1, %edi
        shl     %cl, %edi

# The first 4 GiB mapped to themselves by 2 MiB pages, the C-bit at every level. They serve until C
# code has made better ones.
tables:
        mov     $boot_tables, %ebx
        lea     0x1003(%ebx), %eax
        mov     %eax, (%ebx)
        mov     %edi, 4(%ebx)
        xor     %ecx, %ecx
1:      add     $0x1000, %eax
        mov     %eax, 0x1000(%ebx, %ecx, 8)
        mov     %edi, 0x1004(%ebx, %ecx, 8)
        inc     %ecx
        cmp     $4, %ecx
        jb      1b
        mov     $0x83, %eax
        xor     %ecx, %ecx
2:      mov     %eax, 0x2000(%ebx, %ecx, 8)
        mov     %edi, 0x2004(%ebx, %ecx, 8)
        add     $0x200000, %eax
        inc     %ecx
        cmp     $2048, %ecx
        jb      2b
        mov     %cr4, %eax
        or      $0x20, %eax             # PAE
        mov     %eax, %cr4
        mov     %ebx, %cr3              # walks are private without being told
        mov     $MSR_EFER, %ecx
        rdmsr
        or      $0x100, %eax            # LME
        wrmsr
        mov     %cr0, %eax
        or      $0x80000000, %eax       # PG
        mov     %eax, %cr0
        ljmp    $CODE64, $start64

# Tentative #VC, called by a gate of legacy protected mode: error code, EIP, CS, EFLAGS.
trap32:
        cmpl    $EXIT_CPUID, (%esp)
        jne     die
        incl    tentative_vcs
        push    %esi
        push    %edi
        sub     $16, %esp
        mov     %eax, %esi
        xor     %edi, %edi
1:      mov     %edi, %eax
        shl     $30, %eax
        or      $GHCB_CPUID_REQUEST, %eax
        mov     %esi, %edx
        mov     $MSR_GHCB, %ecx
        wrmsr
        vmgexit                     # VMGEXIT
        rdmsr
        and     $0xfff, %eax
        cmp     $GHCB_CPUID_RESPONSE, %eax
        jne     die
        mov     %edx, (%esp, %edi, 4)
        inc     %edi
        cmp     $4, %edi
        jb      1b
        pop     %eax
        pop     %ebx
        pop     %ecx
        pop     %edx
        pop     %edi
        pop     %esi
        add     $4, %esp
        addl    $2, (%esp)              # past CPUID
        iret

# Asks the host to end the machine; the same bytes in every mode.
die:
        mov     $MSR_GHCB, %ecx
        mov     $GHCB_TERMINATE, %eax
        xor     %edx, %edx
        wrmsr
        vmgexit
1:      hlt
        jmp     1b

        .code64
# The same, called by a gate of long mode, whatever the interrupted code was.
trap64:
        cmpl    $EXIT_CPUID, (%rsp)
        jne     die
        incl    tentative_vcs
        push    %rsi
        push    %rdi
        sub     $32, %rsp
        mov     %eax, %esi
        xor     %edi, %edi
1:      mov     %edi, %eax
        shl     $30, %eax
        or      $GHCB_CPUID_REQUEST, %eax
        mov     %esi, %edx
        mov     $MSR_GHCB, %ecx
        wrmsr
        vmgexit
        rdmsr
        and     $0xfff, %eax
        cmp     $GHCB_CPUID_RESPONSE, %eax
        jne     die
        mov     %rdx, (%rsp, %rdi, 8)
        inc     %edi
        cmp     $4, %edi
        jb      1b
        pop     %rax
        pop     %rbx
        pop     %rcx
        pop     %rdx
        pop     %rdi
        pop     %rsi
        add     $8, %rsp
        addq    $2, (%rsp)
        iretq

start64:
        mov     $DATA, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %ss
        xor     %eax, %eax
        mov     %eax, %fs
        mov     %eax, %gs
        lidt    idt64_pointer
        mov     $stack_top, %esp
        mov     %ebp, %edi              # boot_params
        xor     %ebp, %ebp
        call    start
        jmp     die

        .balign 8
gdt:    .quad   0
        .quad   0x00cf9b000000ffff      # CODE32
        .quad   0x00cf93000000ffff      # DATA
        .quad   0x00af9b000000ffff      # CODE64
gdt_end:
idt32:  .fill   VECTOR_VC, 8, 0
        .word   trap32 - locore, CODE32, 0x8e00, 0x0010
idt32_end:
        .balign 8
idt64:  .fill   VECTOR_VC * 2, 8, 0
        .word   trap64 - locore, CODE64, 0x8e00, 0x0010
        .quad   0
idt64_end:
gdt_pointer:
        .word   gdt_end - gdt - 1
        .quad   gdt
idt32_pointer:
        .word   idt32_end - idt32 - 1
        .quad   idt32
idt64_pointer:
        .word   idt64_end - idt64 - 1
        .quad   idt64

        .bss
        .globl  entry_kind, compat_cpuid, tentative_vcs
        .balign 4096
boot_tables:
        .skip   6 * 4096
        .skip   16384
stack_top:
entry_kind:
        .skip   4
compat_cpuid:
        .skip   4
tentative_vcs:
        .skip   4
