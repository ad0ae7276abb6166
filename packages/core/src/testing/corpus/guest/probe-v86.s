# Probe: virtual-8086 mode.
.include "protected.s"
_start: SETUP
        PREPARE out
        push    0                       # GS, FS, DS, ES
        push    0
        push    0
        push    0
        push    0                       # SS:SP
        push    0x7000
        push    0x00020002              # VM
        push    0
        push    offset task
        iretd
.code16
task:   mov     cx, 7
        ud2
.code32
out:    movzx   ecx, cx
        CHECK   ecx, 7, "CX"
        mov     eax, [EXC_FLAGS]
        and     eax, 0x20000
        CHECK   eax, 0x20000, "VM in the saved flags"
        DONE
