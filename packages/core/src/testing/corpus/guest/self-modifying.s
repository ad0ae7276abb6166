# Code that changes itself: the next instruction, the rest of a loop, itself, another page of the
# same frame, by strings and by what crosses a page.
#
# Source: AMD APM vol. 2, 7.6.1 (self-modifying code): seen by the same processor from the next
# branch on, and in fact at once.

.include "long.s"

_start: SETUP
        # An immediate of an instruction in a loop, changed by the loop.
        xor     ebx, ebx
        mov     ecx, 10
1:      .byte   0x81, 0xc3              # add ebx, imm32
sum:    .long   0
        inc     dword ptr [sum]
        loop    1b
        CHECK   ebx, 45, "0 + 1 + ... + 9"

        # The opcode right behind the store (a jump between, as the manual wants).
        mov     eax, 1
        mov     byte ptr [next], 0xff   # inc eax: ff c0
        mov     byte ptr [next + 1], 0xc0
        jmp     next
next:   nop
        nop
        CHECK   eax, 2, "two NOPs that became INC"

        # A subroutine overwritten by REP MOVSB between calls.
        call    patch
        CHECK   eax, 11, "the first version"
        mov     esi, offset second
        mov     edi, offset patch
        mov     ecx, offset second_end - second
        cld
        rep movsb
        call    patch
        CHECK   eax, 22, "the second version"

        # The same frame at another address: written there, executed here.
        mov     dword ptr [FREE], 0x000001b8            # mov eax, 1
        mov     word ptr [FREE + 4], 0xc300             # ret
        mov     byte ptr [FREE + 4], 0
        mov     eax, FREE
        call    rax
        CHECK   eax, 1, "before the write by an alias"
        mov     qword ptr [TABLES + 0x2008], 0xe7       # 2 MiB maps to 0
        mov     eax, FREE
        invlpg  [0x200000 + FREE]
        mov     byte ptr [0x200000 + FREE + 1], 77
        call    rax
        CHECK   eax, 77, "after it"

        # An instruction across a page, its second half rewritten.
        mov     edi, FREE + 0xffd
        mov     dword ptr [rdi], 0x000005b8             # mov eax, 5
        mov     word ptr [rdi + 4], 0xc300
        call    rdi
        CHECK   eax, 5, "across a page"
        mov     byte ptr [rdi + 3], 1                   # in the second page
        call    rdi
        CHECK   eax, 0x10005, "its second half changed"
        mov     byte ptr [rdi + 1], 6                   # in the first
        call    rdi
        CHECK   eax, 0x10006, "its first half changed"
        # One store over both pages.
        mov     dword ptr [rdi + 1], 0x01020304
        call    rdi
        CHECK   eax, 0x01020304, "changed by a store across the page"

        # A hundred versions in the same place.
        xor     ebx, ebx
        mov     ecx, 100
2:      mov     [FREE + 1], ecx
        push    rcx
        mov     eax, FREE
        call    rax
        pop     rcx
        add     ebx, eax
        loop    2b
        CHECK   ebx, 5050, "1 + 2 + ... + 100"
        DONE

patch:  mov     eax, 11
        ret
        nop
second: mov     eax, 22
        ret
second_end:
