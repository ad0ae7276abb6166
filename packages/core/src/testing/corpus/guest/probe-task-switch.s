# Probe: JMP to a task-state segment.
.include "protected.s"
.set TSS2, 0x900
_start: SETUP
        mov     dword ptr [GDT + OWN], 0x09000067
        mov     dword ptr [GDT + OWN + 4], 0x00008900
        mov     dword ptr [TSS2 + 32], offset task
        mov     dword ptr [TSS2 + 36], 2
        mov     dword ptr [TSS2 + 56], 0x7800
        mov     word ptr [TSS2 + 72], DATA
        mov     word ptr [TSS2 + 76], CODE32
        mov     word ptr [TSS2 + 80], DATA
        mov     word ptr [TSS2 + 84], DATA
        jmp     OWN, 0
        FAIL
task:   str     eax
        CHECK   eax, OWN, "TR"
        DONE
