# One CPU changes code that another runs: after a serializing instruction the new code is run, and
# a change of four bytes within an aligned word is seen whole.
#
# Source: AMD APM vol. 2, 7.6.1 (cross-modifying code).

.include "smp.s"

.set VERSION, FREE
.set SEEN, FREE + 0x40
.set WRONG, FREE + 0x80
.set CODE, FREE + 0x1000

_start: SETUP
        mov     dword ptr [VERSION], 0
        mov     dword ptr [SEEN], 0
        mov     dword ptr [WRONG], 0
        mov     dword ptr [CODE], 0xb8909090    # mov eax, imm32 at 3, so that imm32 is aligned
        mov     dword ptr [CODE + 4], 0
        mov     byte ptr [CODE + 8], 0xc3
        START_CPU other

        # Synchronized: by version, acknowledged.
        mov     esi, 1
1:      mov     [CODE + 4], esi
        mov     [VERSION], esi
2:      pause
        cmp     [SEEN], esi
        jne     2b
        inc     esi
        cmp     esi, 40
        jbe     1b
        mov     eax, [WRONG]
        CHECK   eax, 0, "calls that ran an old version"
        mov     eax, [SEEN]
        CHECK   eax, 40, "versions seen"

        # Not synchronized: in time the other sees it.
        mov     dword ptr [CODE + 4], 1000
        AWAIT   SEEN, 1000
        mov     eax, [SEEN]
        CHECK   eax, 1000, "seen without being told"
        DONE

other:  mov     edi, [VERSION]
        cmp     edi, [SEEN]
        je      3f
        xor     eax, eax
        cpuid                           # serializes
        mov     eax, CODE
        call    rax
        cmp     eax, edi
        je      2f
        inc     dword ptr [WRONG]
2:      mov     [SEEN], edi
        cmp     edi, 40
        jne     other
4:      mov     eax, CODE
        call    rax
        cmp     eax, 1000
        jne     4b
        mov     [SEEN], eax
1:      cli
        hlt
        jmp     1b
3:      pause
        jmp     other
