# Protected mode, 32-bit: an interrupt descriptor table whose handlers note the exception and go on
# at RESUME. The stack pointer and segment are those of the frame only after a change of privilege.
#
# Source: AMD APM vol. 2, 8.7 (legacy protected-mode interrupt stack frame), 4.7.4 (gates).

.include "layout.s"
.code32

.macro PREPARE resume
        mov     dword ptr [EXC_VECTOR], -1
        mov     dword ptr [EXC_ERROR], -1
        mov     dword ptr [EXC_IP], -1
        mov     dword ptr [RESUME_SP], esp
        mov     dword ptr [RESUME], offset \resume
.endm

.macro SETUP
        mov     dword ptr [TSS + 4], KERNEL_STACK
        mov     dword ptr [TSS + 8], DATA
        lidt    [idt_pointer]
.endm

# A gate of the program's own: an interrupt gate unless told.
.macro GATE vector:req, handler:req, type=0x8e
        mov     word ptr [idt + 8 * (\vector)], offset \handler
        mov     word ptr [idt + 8 * (\vector) + 2], CODE32
        mov     word ptr [idt + 8 * (\vector) + 4], \type * 256
.endm

# Leaves for user mode at `target`, with `flags`. The way back is RESUME.
.macro USER target:req, flags=2
        push    USER_DATA
        pop     ds
        push    USER_DATA
        pop     es
        push    USER_DATA
        push    USER_STACK
        push    \flags
        push    USER_CODE32
        push    offset \target
        iretd
.endm

        jmp     _start

        .balign 8
idt:    .set    vector, 0
        .rept   32
        .word   stubs + 16 * vector
        .word   CODE32
        .byte   0, 0x8e
        .word   0
        .set    vector, vector + 1
        .endr
        .rept   224
        .quad   0
        .endr
idt_pointer:
        .word   idt_pointer - idt - 1
        .long   idt

        .balign 16
stubs:  .set    vector, 0
        .rept   32
        .balign 16, 0x90
        .if     (0x60227d00 >> vector) & 1
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
        push    eax
        mov     eax, DATA               # DS may be null or a user's
        mov     ds, eax
        pop     dword ptr [EXC_A]
        lea     eax, [esp + 8]
        mov     [EXC_HANDLER_SP], eax
        pop     eax
        mov     [EXC_VECTOR], eax
        pop     eax
        mov     [EXC_ERROR], eax
        mov     eax, [esp]
        mov     [EXC_IP], eax
        mov     eax, [esp + 4]
        mov     [EXC_CS], eax
        mov     eax, [esp + 8]
        mov     [EXC_FLAGS], eax
        mov     eax, [esp + 12]
        mov     [EXC_SP], eax
        mov     eax, [esp + 16]
        mov     [EXC_SS], eax
        mov     eax, DATA
        mov     ss, eax
        mov     es, eax
        mov     esp, [RESUME_SP]
        mov     eax, [RESUME]
        mov     dword ptr [RESUME], 0
        test    eax, eax
        jz      1f
        push    eax
        mov     eax, [EXC_A]
        ret
1:      FAIL
