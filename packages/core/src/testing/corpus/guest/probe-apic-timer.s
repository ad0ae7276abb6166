# Probe: the local APIC's timer in xAPIC mode.
.include "long.s"
_start: SETUP
        mov     ebx, 0xfee00000
        mov     dword ptr [rbx + 0xf0], 0x1ff
        mov     dword ptr [rbx + 0x3e0], 0xb
        mov     dword ptr [rbx + 0x320], 20
        PREPARE fired
        mov     dword ptr [rbx + 0x380], 1000
        sti
1:      pause
        jmp     1b
fired:  mov     eax, [EXC_VECTOR]
        CHECK   eax, 20, "vector"
        DONE
