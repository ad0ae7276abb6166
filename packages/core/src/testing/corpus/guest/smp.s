# Two CPUs: INIT and SIPI, IPIs both ways, NMI to another, atomic operations, a lock.
#
# Source: AMD APM vol. 2, 16.5 (IPIs), 7.3 (atomic operations), 14.1 (INIT).

.include "smp.s"

.set READY, FREE
.set COUNT, FREE + 0x40
.set PLAIN, FREE + 0x80
.set LOCK, FREE + 0xc0
.set GO, FREE + 0x100
.set HEARD, FREE + 0x140
.set HEARD_BACK, FREE + 0x180
.set NMIS, FREE + 0x1c0
.set ENDED, FREE + 0x200

.macro WORK
        mov     ecx, 3000
1:      lock inc dword ptr [COUNT]
2:      mov     eax, 1
        xchg    [LOCK], eax
        test    eax, eax
        jz      3f
        pause
        jmp     2b
3:      mov     eax, [PLAIN]
        inc     eax
        mov     [PLAIN], eax
        mov     dword ptr [LOCK], 0
        dec     ecx
        jnz     1b
.endm

_start: SETUP
        GATE    0x40, heard
        GATE    0x41, heard_back
        GATE    2, nmi
        mov     edi, FREE
        mov     ecx, 0x300
        xor     eax, eax
        cld
        rep stosb
        START_CPU other
        AWAIT   READY, 1
        mov     eax, [READY + 4]
        CHECK   eax, 1, "APIC ID of the other"
        mov     eax, [READY + 8]
        CHECK   eax, 0, "it is not the boot CPU"

        mov     dword ptr [GO], 1
        WORK
        AWAIT   READY, 2
        mov     eax, [COUNT]
        CHECK   eax, 6000, "LOCK INC by both"
        mov     eax, [PLAIN]
        CHECK   eax, 6000, "increments under a lock"

        # An IPI wakes it from HLT; it answers.
        sti
        mov     dword ptr [rbx + 0x310], 1 << 24
        mov     dword ptr [rbx + 0x300], 0x4040
        AWAIT   HEARD_BACK, 1
        mov     eax, [HEARD]
        CHECK   eax, 1, "it heard the IPI"
        # To all but itself, to all with itself.
        mov     dword ptr [rbx + 0x300], 0xc4040
        AWAIT   HEARD_BACK, 2
        mov     eax, [HEARD]
        CHECK   eax, 2, "to all but itself: once"
        cli
        mov     dword ptr [rbx + 0x310], 1 << 24
        mov     dword ptr [rbx + 0x300], 0x4400
        AWAIT   NMIS, 1
        mov     eax, [NMIS]
        CHECK   eax, 1, "NMI"

        # INIT stops it; SIPI starts it anew.
        mov     dword ptr [READY], 0
        START_CPU again
        AWAIT   READY, 3
        mov     eax, [READY]
        CHECK   eax, 3, "started anew"
        DONE

other:  mov     eax, [rbx + 0x20]
        shr     eax, 24
        mov     [READY + 4], eax
        mov     ecx, 0x1b
        rdmsr
        and     eax, 0x100
        mov     [READY + 8], eax
        mov     dword ptr [READY], 1
        AWAIT   GO, 1
        WORK
        mov     dword ptr [READY], 2
1:      sti
        hlt
        jmp     1b

again:  mov     dword ptr [READY], 3
1:      cli
        hlt
        jmp     1b

heard:  inc     dword ptr [HEARD]
        END_OF_INTERRUPT
        push    rax
        mov     eax, APIC
        mov     dword ptr [rax + 0x310], 0
        mov     dword ptr [rax + 0x300], 0x4041
        pop     rax
        iretq
heard_back:
        inc     dword ptr [HEARD_BACK]
        END_OF_INTERRUPT
        iretq
nmi:    inc     dword ptr [NMIS]
        iretq
