# SYSENTER and SYSEXIT in protected mode.
#
# Source: AMD APM vol. 2, 6.1.2; vol. 3, SYSENTER, SYSEXIT.

.include "protected.s"

.macro WRITE index:req, value:req
        mov     ecx, \index
        mov     eax, offset \value
        xor     edx, edx
        wrmsr
.endm

_start: SETUP
        FAULT   13, 0, "SYSENTER with a null SYSENTER_CS", sysenter
        WRITE   0x174, CODE32
        WRITE   0x175, KERNEL_STACK
        WRITE   0x176, entry
        PREPARE out
        USER    user, 0x202
user:   mov     edx, offset after
        mov     ecx, esp
        stc
        sysenter
        ud2
after:  mov     ebx, cs
        mov     ebp, ss
        mov     edi, esp
        ud2
entry:  mov     eax, esp
        pushfd
        pop     dword ptr ss:[FREE]
        mov     esi, cs
        shl     esi, 16
        mov     si, ss
        sysexit
out:    CHECK   esi, (CODE32<<16)+CODE32+8, "CS and SS inside"
        CHECK   ebx, CODE32+16+3, "CS after SYSEXIT"
        CHECK   ebp, CODE32+24+3, "SS after SYSEXIT"
        CHECK   edi, USER_STACK, "ESP after SYSEXIT: ECX"
        mov     eax, [EXC_A]
        CHECK   eax, KERNEL_STACK, "ESP inside"
        mov     eax, [FREE]
        and     eax, 0x20201
        CHECK   eax, 1, "flags inside: IF and VM clear"
        USER_FAULT 13, 0, 2, "SYSEXIT at CPL 3", sysexit
        DONE
