# Probe: SYSENTER in protected mode.
.include "protected.s"
_start: SETUP
        mov     ecx, 0x174
        mov     eax, CODE32
        xor     edx, edx
        wrmsr
        mov     ecx, 0x175
        mov     eax, STACK
        wrmsr
        mov     ecx, 0x176
        mov     eax, offset entered
        wrmsr
        PREPARE out
        USER    user
user:   sysenter
        ud2
entered:
        mov     esi, 1
out:    CHECK   esi, 1, "at SYSENTER_EIP"
        DONE
