# Exceptions in real mode: the vector table, saved pointers, what the handler's frame holds.
#
# Source: AMD APM vol. 2, 8.2 (vectors), 8.6 (real-mode transfers); vol. 3, DIV, BOUND, INTO, INT.

.include "real.s"

_start: SETUP
        xor     dx, dx
        mov     ax, 0x1234
        FAULT   0, -1, "division by zero", div dl
        mov     ax, 0x8000
        mov     bl, -1
        FAULT   0, -1, "quotient of -32768 / -1", idiv bl
        FAULT   6, -1, "UD2", ud2
        TRAP    3, "INT3", int3
        mov     al, 0x7f
        add     al, 1
        TRAP    4, "INTO with OF", into
        mov     al, 1
        add     al, 1
        NOFAULT "INTO without OF", into
        mov     dword ptr ds:[FREE_LIMITS], 0x00050002
        mov     ax, 6
        FAULT   5, -1, "BOUND above", bound ax, ds:[FREE_LIMITS]
        mov     ax, 5
        NOFAULT "BOUND at the upper bound", bound ax, ds:[FREE_LIMITS]
        TRAP    17, "INT 17", int 17

        # A word at offset 0xffff ends beyond the segment's limit.
        mov     bx, 0xffff
        FAULT   13, -1, "a word at 0xffff", mov ax, [bx]
        mov     bp, 0xffff
        FAULT   12, -1, "a word of the stack at 0xffff", mov ax, [bp]
        mov     ecx, 0x10000
        FAULT   13, -1, "an address above 64 KiB", mov al, [ecx]

        # The frame: flags as they were; IF and TF clear in the handler.
        xor     ax, ax
        sti
        stc
        TRY     int 20
        mov     ax, ds:[EXC_FLAGS]
        CHECK   ax, 0x247, "flags saved by INT (IF, ZF, PF, CF)"
        pushf
        pop     ax
        and     ax, 0x300
        CHECK   ax, 0, "IF and TF in the handler"
        mov     ax, ds:[EXC_HANDLER_SP]
        CHECK   ax, STACK-6, "the frame of six bytes"
        DONE

.set FREE_LIMITS, 0x700
