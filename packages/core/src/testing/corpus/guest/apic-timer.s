# The local APIC's timer: one shot, periodic, masked, by TSC deadline; the interrupt ends HLT.
#
# Source: AMD APM vol. 2, 16.4.1 (APIC timer); Intel SDM vol. 3, 11.5.4.1 (TSC deadline).

.include "long.s"

.set APIC, 0xfee00000
.set VECTOR, 0x50

_start: SETUP
        GATE    VECTOR, tick
        mov     ebx, APIC
        mov     dword ptr [rbx + 0xf0], 0x1ff
        mov     dword ptr [rbx + 0x3e0], 0xb
        xor     r8d, r8d

        # One shot: one interrupt, and the count stays 0.
        mov     dword ptr [rbx + 0x320], VECTOR
        mov     dword ptr [rbx + 0x380], 5000
        sti
        hlt
behind: cli
        CHECK   r8d, 1, "one interrupt"
        CHECK   r9, behind, "it was taken behind HLT"
        mov     eax, [rbx + 0x390]
        CHECK   eax, 0, "the count, once expired"
        sti
        mov     ecx, 5000
1:      nop
        loop    1b
        cli
        CHECK   r8d, 1, "no second one"

        # Periodic: three, each by HLT.
        mov     dword ptr [rbx + 0x320], VECTOR + 0x20000
        mov     dword ptr [rbx + 0x380], 5000
        .rept   3
        sti
        hlt
        cli
        .endr
        mov     dword ptr [rbx + 0x380], 0
        cmp     r8d, 4
        setae   al
        CHECK   al, 1, "three of the periodic timer"
        mov     eax, [rbx + 0x390]
        CHECK   eax, 0, "an initial count of 0 stops it"
        sti
        nop
        nop
        cli

        # The count goes down, from the initial one; a masked timer counts all the same.
        mov     dword ptr [rbx + 0x320], VECTOR + 0x10000
        mov     dword ptr [rbx + 0x380], 0x7fffffff
        mov     eax, [rbx + 0x390]
        mov     edx, eax
        mov     ecx, 100
1:      loop    1b
        sub     edx, [rbx + 0x390]
        test    edx, edx
        setg    cl
        CHECK   cl, 1, "it counts down"
        mov     ecx, r8d
        mov     dword ptr [rbx + 0x380], 10
        sti
        mov     edx, 2000
1:      dec     edx
        jnz     1b
        cli
        sub     ecx, r8d
        CHECK   ecx, 0, "masked: no interrupt"
        mov     eax, [rbx + 0x390]
        CHECK   eax, 0, "masked: it expires"

        # What registers show: the divider has bits 0, 1 and 3, the LVT its mask after a reset.
        mov     dword ptr [rbx + 0x3e0], 0xffffffff
        mov     eax, [rbx + 0x3e0]
        CHECK   eax, 0xb, "the divide configuration"
        mov     eax, [rbx + 0x370]
        and     eax, 0x10000
        CHECK   eax, 0x10000, "the error entry is masked from reset on"
        DONE

tick:   inc     r8d
        mov     r9, [rsp]
        mov     dword ptr [rbx + 0xb0], 0
        iretq
