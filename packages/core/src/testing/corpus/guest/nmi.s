# NMI: taken with IF clear, blocked until IRET, one of them remembered.
#
# Source: AMD APM vol. 2, 8.2.3 (NMI), 8.1.2; 16.5 (IPI of delivery mode NMI).

.include "long.s"

.set APIC, 0xfee00000

.macro SEND
        mov     dword ptr [rbx + 0x300], 0x4400
.endm

_start: SETUP
        GATE    2, first
        mov     ebx, APIC
        mov     dword ptr [rbx + 0xf0], 0x1ff
        mov     dword ptr [rbx + 0x310], 0
        xor     r8d, r8d
        xor     r9d, r9d
        cli
        SEND
        ARRIVE
        CHECK   r8d, 3, "it, and one of two that came while it was handled"
        CHECK   r9d, 0, "none inside of the handler"

        DONE

first:  inc     r8d
        cmp     r8d, 1
        jne     1f
        SEND
        SEND
        ARRIVE
        cmp     r8d, 1
        setne   r9b
        inc     r8d
1:      iretq
