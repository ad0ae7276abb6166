# The local APIC's timer in TSC-deadline mode.
#
# Source: Intel SDM vol. 3, 11.5.4.1; AMD APM vol. 2, 16.4.1.

.include "long.s"

.set APIC, 0xfee00000

_start: SETUP
        GATE    0x50, tick
        mov     ebx, APIC
        mov     dword ptr [rbx + 0xf0], 0x1ff
        mov     dword ptr [rbx + 0x320], 0x40050
        xor     r8d, r8d
        rdtsc
        shl     rdx, 32
        or      rax, rdx
        add     rax, 20000
        mov     r10, rax
        mov     rdx, rax
        shr     rdx, 32
        mov     ecx, 0x6e0
        wrmsr
        rdmsr
        shl     rdx, 32
        or      rax, rdx
        sub     rax, r10
        CHECK   rax, 0, "the deadline reads back"
        sti
        hlt
        cli
        CHECK   r8d, 1, "one interrupt"
        cmp     r11, r10
        setae   al
        CHECK   al, 1, "not before the deadline"
        mov     ecx, 0x6e0
        rdmsr
        CHECK   eax, 0, "disarmed: low"
        CHECK   edx, 0, "disarmed: high"

        # A deadline in the past fires at once.
        mov     eax, 1
        wrmsr
        sti
        ARRIVE
        cli
        CHECK   r8d, 2, "a deadline in the past"
        # 0 disarms.
        mov     eax, -1
        mov     edx, 0x7fffffff
        wrmsr
        xor     eax, eax
        xor     edx, edx
        wrmsr
        sti
        mov     ecx, 1000
1:      loop    1b
        cli
        CHECK   r8d, 2, "0 disarms"
        DONE

tick:   inc     r8d
        rdtsc
        shl     rdx, 32
        lea     r11, [rax + rdx]
        mov     dword ptr [rbx + 0xb0], 0
        mov     ecx, 0x6e0
        iretq
