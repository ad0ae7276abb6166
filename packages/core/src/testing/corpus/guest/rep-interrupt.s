# A repeated instruction is interrupted between two iterations and goes on where it was: RIP is on
# it, RCX says what is left, and all is done in the end.
#
# Source: AMD APM vol. 3, 1.2.6; vol. 2, 8.1.2 (interrupts are taken on instruction boundaries).

.include "long.s"

.set LENGTH, 0x60000
.set APIC, 0xfee00000

_start: SETUP
        GATE    0x40, tick
        mov     ebx, APIC
        mov     dword ptr [rbx + 0xf0], 0x1ff
        mov     dword ptr [rbx + 0x3e0], 0xb    # by 1
        mov     dword ptr [rbx + 0x320], 0x20040
        mov     dword ptr [rbx + 0x380], 20011
        xor     r8d, r8d                # ticks inside the copy
        xor     r9d, r9d                # of which RCX and RDI disagreed
        mov     byte ptr [0x100000], 0x5a
        mov     esi, 0x100000
        mov     edi, 0x100001
        mov     ecx, LENGTH
        cld
        sti
        nop
copy:   rep movsb
        cli
        mov     dword ptr [rbx + 0x380], 0
        CHECK   ecx, 0, "RCX"
        CHECK   edi, 0x100001+LENGTH, "RDI"
        mov     al, [0x100000 + LENGTH]
        CHECK   al, 0x5a, "the last byte"
        mov     al, [0x100001 + LENGTH]
        CHECK   al, 0, "the byte behind it"
        test    r8d, r8d
        setnz   al
        CHECK   al, 1, "it was interrupted"
        CHECK   r9d, 0, "interruptions at which the registers disagreed"
        DONE

tick:   push    rax
        cmp     qword ptr [rsp + 8], offset copy
        jne     1f
        inc     r8d
        lea     rax, [rcx + rdi - 0x100001 - LENGTH]
        test    rax, rax
        setnz   al
        movzx   eax, al
        add     r9d, eax
1:      mov     dword ptr [rbx + 0xb0], 0
        pop     rax
        iretq
