# Long mode: an interrupt descriptor table whose handlers note the exception and go on at RESUME.
#
# Source: AMD APM vol. 2, 8.9 (long-mode interrupt stack frame), 4.8.4 (gates).

.include "layout.s"
.code64

# Time for what comes from outside of the processor, as an APIC's message does, to arrive: no manual
# says within how many instructions. Changes no register.
.macro ARRIVE
        push    rcx
        mov     ecx, 5000
.Lwait\@:
        loop    .Lwait\@
        pop     rcx
.endm

.macro PREPARE resume
        mov     dword ptr [EXC_VECTOR], -1
        mov     qword ptr [EXC_ERROR], -1
        mov     qword ptr [EXC_IP], -1
        mov     qword ptr [RESUME_SP], rsp
        mov     qword ptr [RESUME], offset \resume
.endm

# Loads the IDT and the stacks of the TSS.
.macro SETUP
        mov     qword ptr [TSS + 4], KERNEL_STACK
        mov     qword ptr [TSS + 36], IST_STACK
        lidt    [idt_pointer]
.endm

# A gate of the program's own: an interrupt gate unless told, stack by `ist`.
.macro GATE vector:req, handler:req, type=0x8e, ist=0
        mov     word ptr [idt + 16 * (\vector)], offset \handler
        mov     word ptr [idt + 16 * (\vector) + 2], CODE64
        mov     word ptr [idt + 16 * (\vector) + 4], \type * 256 + \ist
.endm

# Leaves for user mode at `target`, with `flags`; changes nothing else. The way back is RESUME.
.macro USER target:req, flags=2
        push    USER_DATA
        push    USER_STACK
        push    \flags
        push    USER_CODE64
        push    offset \target
        iretq
.endm

        jmp     _start

# Gates for vectors 0 to 31: interrupt gates, DPL 0; programs change them through `idt`.
        .balign 8
idt:    .set    vector, 0
        .rept   32
        .word   stubs + 16 * vector
        .word   CODE64
        .byte   0, 0x8e
        .word   0
        .quad   0
        .set    vector, vector + 1
        .endr
        .rept   224                     # further gates are the program's
        .quad   0, 0
        .endr
idt_pointer:
        .word   idt_pointer - idt - 1
        .quad   idt

        .balign 16
stubs:  .set    vector, 0
        .rept   32
        .balign 16, 0x90
        .if     (0x60227d00 >> vector) & 1  # 8, 10-14, 17, 21, 29, 30 push an error code
        .byte   0x66, 0x90
        .else
        push    0
        .endif
        push    vector
        jmp     exception
        .set    vector, vector + 1
        .endr
        .balign 16, 0x90

exception:
        mov     [EXC_A], rax
        lea     rax, [rsp + 16]
        mov     [EXC_HANDLER_SP], rax
        pop     rax
        mov     [EXC_VECTOR], rax
        pop     rax
        mov     [EXC_ERROR], rax
        mov     rax, [rsp]
        mov     [EXC_IP], rax
        mov     rax, [rsp + 8]
        mov     [EXC_CS], rax
        mov     rax, [rsp + 16]
        mov     [EXC_FLAGS], rax
        mov     rax, [rsp + 24]
        mov     [EXC_SP], rax
        mov     rax, [rsp + 32]
        mov     [EXC_SS], rax
        mov     eax, DATA
        mov     ss, eax
        mov     rsp, [RESUME_SP]
        mov     rax, [RESUME]
        mov     qword ptr [RESUME], 0
        test    rax, rax
        jz      1f
        push    rax
        mov     rax, [EXC_A]
        ret
1:      FAIL
