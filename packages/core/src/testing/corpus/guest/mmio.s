# Accesses to addresses without memory: every size, read-modify-write, strings, across pages.
#
# Source: AMD APM vol. 3, MOV, MOVS, STOS, ADD, XCHG; the bytes that are read are those of layout.s.

.include "long.s"

_start: mov     ebx, MMIO
        EXIT    "mmio write 0xd0000000 01"
        mov     byte ptr [rbx], 1
        EXIT    "mmio read 0xd0000000 03"
        mov     eax, -1
        mov     al, [rbx]
        CHECK   eax, 0xffffff03, "a byte"
        EXIT    "mmio write 0xd0000010 0302"
        mov     word ptr [rbx + 0x10], 0x0203
        EXIT    "mmio read 0xd0000001 0a11"
        mov     eax, -1
        mov     ax, [rbx + 1]
        CHECK   eax, 0xffff110a, "a word"
        EXIT    "mmio write 0xd0000020 07060504"
        mov     dword ptr [rbx + 0x20], 0x04050607
        EXIT    "mmio read 0xd0000002 11181f26"
        mov     rax, -1
        mov     eax, [rbx + 2]
        CHECK   rax, 0x261f1811, "a doubleword, zero-extended"
        EXIT    "mmio write 0xd0000030 0f0e0d0c0b0a0908"
        mov     rcx, 0x08090a0b0c0d0e0f
        mov     [rbx + 0x30], rcx
        EXIT    "mmio read 0xd0000008 3b424950575e656c"
        mov     rax, [rbx + 8]
        CHECK   rax, 0x6c655e575049423b, "a quadword"
        EXIT    "mmio write 0xd0000040 aa"
        mov     byte ptr [rbx + 0x40], 0xaa

        # Extension.
        EXIT    "mmio read 0xd000001f dc"
        movsx   eax, byte ptr [rbx + 0x1f]
        CHECK   eax, 0xffffffdc, "MOVSX of a byte"
        EXIT    "mmio read 0xd000001d ced5"
        movzx   eax, word ptr [rbx + 0x1d]
        CHECK   eax, 0xd5ce, "MOVZX of a word"

        # Read-modify-write: one read, one write of the result.
        EXIT    "mmio read 0xd0000004 1f262d34"
        EXIT    "mmio write 0xd0000004 20262d34"
        add     dword ptr [rbx + 4], 1
        EXIT    "mmio read 0xd0000004 1f26"
        EXIT    "mmio write 0xd0000004 e0d9"
        not     word ptr [rbx + 4]
        EXIT    "mmio read 0xd0000004 1f"
        test    byte ptr [rbx + 4], 0x1f
        setz    al
        CHECK   al, 0, "ZF of TEST"

        # Across a page: seen as one.
        EXIT    "mmio read 0xd0000ffe f5fc030a"
        mov     eax, [rbx + 0xffe]
        CHECK   eax, 0x0a03fcf5, "a doubleword across pages"
        EXIT    "mmio write 0xd0001ffd 0f0e0d0c0b0a0908"
        mov     [rbx + 0x1ffd], rcx

        # Strings: from memory, to memory, filling.
        cld
        EXIT    "mmio write 0xd0000100 61626364"
        lea     rdi, [rbx + 0x100]
        mov     esi, offset text
        mov     ecx, 4
        rep movsb
        CHECK   ecx, 0, "RCX after REP MOVSB"
        EXIT    "mmio read 0xd0000200 030a11181f262d34"
        lea     rsi, [rbx + 0x200]
        mov     edi, FREE
        mov     ecx, 2
        rep movsd
        mov     rax, [FREE]
        CHECK   rax, 0x342d261f18110a03, "REP MOVSD from there"
        EXIT    "mmio write 0xd0000300 550055005500"
        lea     rdi, [rbx + 0x300]
        mov     eax, 0x55
        mov     ecx, 3
        rep stosw
        sub     rdi, rbx
        CHECK   rdi, 0x306, "RDI after REP STOSW"

        # Partly memory, partly not: the last bytes of RAM and the hole behind it.
        mov     dword ptr [0x1ffffc], 0x44332211
        EXIT    "mmio read 0x200000 ffff"
        mov     eax, [0x1ffffe]
        CHECK   eax, 0xffff4433, "half of it memory"
        DONE

text:   .ascii  "abcd"
