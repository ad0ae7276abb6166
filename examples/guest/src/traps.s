# The gates of the later IDT, which C code fills in, and the calls that stand in for IN and OUT.

#include "asm.h"

        .altmacro
        .text

# Every vector lands in `common` with the same frame: `struct frame` of guest.h.
        .macro  vector number
        .balign 16
        # A bit for each vector that pushes an error code itself: 8, 10 to 14, 17, 21, 29, 30.
        .if     (0x60227d00 >> \number) % 2 == 0
        pushq   $0
        .endif
        pushq   $\number
        jmp     common
        .endm

        .globl  vectors
        .balign 16
vectors:
        .set    number, 0
        .rept   VECTORS
        vector  %number
        .set    number, number + 1
        .endr

common:
        push    %r15
        push    %r14
        push    %r13
        push    %r12
        push    %r11
        push    %r10
        push    %r9
        push    %r8
        push    %rdi
        push    %rsi
        push    %rbp
        push    %rsp                    # the handler puts the interrupted RSP there
        push    %rbx
        push    %rdx
        push    %rcx
        push    %rax
        mov     %rsp, %rdi
        sub     $8, %rsp
        cld
        call    trap
        add     $8, %rsp
        pop     %rax
        pop     %rcx
        pop     %rdx
        pop     %rbx
        add     $8, %rsp
        pop     %rbp
        pop     %rsi
        pop     %rdi
        pop     %r8
        pop     %r9
        pop     %r10
        pop     %r11
        pop     %r12
        pop     %r13
        pop     %r14
        pop     %r15
        add     $16, %rsp               # vector, error code
        iretq

# In place of one plain instruction: DX port, AL/AX/EAX data; everything else as it was.
        .macro  paravirtual name, function, size
        .globl  \name
\name:
        push    %rcx
        push    %rdx
        push    %rsi
        push    %rdi
        push    %r8
        push    %r9
        push    %r10
        push    %r11
        push    %rax
        movzwl  %dx, %edi
        mov     $\size, %esi
        mov     %eax, %edx
        cld
        call    \function
        pop     %rcx
        .ifc    \function, ghcb_out
        mov     %rcx, %rax
        .endif
        .if     \size < 4
        .ifc    \function, ghcb_in
        # A narrow IN keeps the rest of RAX.
        .if     \size == 1
        mov     %al, %cl
        .else
        mov     %ax, %cx
        .endif
        mov     %rcx, %rax
        .endif
        .endif
        pop     %r11
        pop     %r10
        pop     %r9
        pop     %r8
        pop     %rdi
        pop     %rsi
        pop     %rdx
        pop     %rcx
        ret
        .endm

        paravirtual pv_outb, ghcb_out, 1
        paravirtual pv_outw, ghcb_out, 2
        paravirtual pv_outl, ghcb_out, 4
        paravirtual pv_inb, ghcb_in, 1
        paravirtual pv_inw, ghcb_in, 2
        paravirtual pv_inl, ghcb_in, 4
