# Real mode: an interrupt vector table whose handlers note the exception and go on at RESUME. There
# are no error codes. The program runs with all segments 0.
#
# Source: AMD APM vol. 2, 8.6 (real-mode interrupt control transfers).

.include "layout.s"
.code16

.macro PREPARE resume
        mov     dword ptr ds:[EXC_VECTOR], -1
        mov     dword ptr ds:[EXC_ERROR], -1
        mov     dword ptr ds:[EXC_IP], -1
        mov     word ptr ds:[RESUME_SP], sp
        mov     word ptr ds:[RESUME], offset \resume
.endm

# Fills vectors 0 to 31; they lie at 0.
.macro SETUP
        xor     di, di
        mov     ax, offset stubs
1:      mov     [di], ax
        mov     word ptr [di + 2], 0
        add     di, 4
        add     ax, 8
        cmp     di, 128
        jb      1b
.endm

        jmp     _start

        .balign 8
stubs:  .set    vector, 0
        .rept   32
        .balign 8, 0x90
        push    vector
        jmp     exception
        .set    vector, vector + 1
        .endr
        .balign 8, 0x90

exception:
        push    ds
        push    0
        pop     ds
        pop     word ptr ds:[EXC_A + 2]
        mov     ds:[EXC_A], ax
        lea     ax, [esp + 2]
        mov     ds:[EXC_HANDLER_SP], ax
        xor     eax, eax
        pop     ax
        mov     ds:[EXC_VECTOR], eax
        pop     ax
        mov     ds:[EXC_IP], eax
        pop     ax
        mov     ds:[EXC_CS], eax
        pop     ax
        mov     ds:[EXC_FLAGS], eax
        xor     ax, ax
        mov     ss, ax
        mov     sp, ds:[RESUME_SP]
        mov     es, ax
        xchg    ax, ds:[RESUME]
        test    ax, ax
        jz      1f
        push    ax
        mov     ax, ds:[EXC_A]
        ret
1:      FAIL
