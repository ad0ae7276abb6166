# Page tables that change: INVLPG, a load of CR3, large pages, accessed and dirty bits.
#
# Source: AMD APM vol. 2, 5.4 (accessed and dirty), 5.5.2 (invalidation).

.include "long.s"

.set V, 0x40000000
.set TABLE, 0x16000

_start: mov     edi, TABLE
        mov     ecx, 0x400
        xor     eax, eax
        cld
        rep stosd
        mov     qword ptr [TABLES + 0x3000], TABLE + 7
        mov     qword ptr [TABLE], 0x20007
        mov     qword ptr [TABLE + 8], 0x21007
        mov     rax, cr3
        mov     cr3, rax
        mov     dword ptr [0x20000], 0xaaaa
        mov     dword ptr [0x21000], 0xbbbb
        mov     dword ptr [0x22000], 0xcccc

        # Accessed on a read, dirty on a write, in the table of the page alone.
        mov     ebx, V
        mov     eax, [rbx]
        CHECK   eax, 0xaaaa, "the first page"
        mov     eax, [TABLE]
        CHECK   eax, 0x20027, "accessed after a read"
        mov     eax, [TABLE + 8]
        CHECK   eax, 0x21007, "the other is not"
        mov     eax, [TABLES + 0x3000]
        CHECK   eax, TABLE+0x27, "accessed in the level above"
        mov     dword ptr [rbx], 0xaaab
        mov     eax, [TABLE]
        CHECK   eax, 0x20067, "dirty after a write"
        add     dword ptr [rbx + 0x1000], 1
        mov     eax, [TABLE + 8]
        CHECK   eax, 0x21067, "both after a read-modify-write"

        # A changed entry is seen after INVLPG, and after a load of CR3.
        mov     qword ptr [TABLE], 0x22007
        invlpg  [rbx]
        mov     eax, [rbx]
        CHECK   eax, 0xcccc, "after INVLPG"
        mov     qword ptr [TABLE], 0x21007
        mov     rax, cr3
        mov     cr3, rax
        mov     eax, [rbx]
        CHECK   eax, 0xbbbc, "after a load of CR3"
        # The bits that software cleared are set again.
        mov     eax, [TABLE]
        CHECK   eax, 0x21027, "accessed again"

        # From small pages to a large one and back.
        mov     qword ptr [TABLES + 0x3000], 0x87
        mov     rax, cr3
        mov     cr3, rax
        mov     eax, [rbx + 0x22000]
        CHECK   eax, 0xcccc, "by a large page"
        mov     eax, [TABLES + 0x3000]
        CHECK   eax, 0xa7, "accessed, a large page"
        mov     dword ptr [rbx + 0x22000], 0xcccd
        mov     eax, [TABLES + 0x3000]
        CHECK   eax, 0xe7, "dirty, a large page"
        mov     qword ptr [TABLES + 0x3000], TABLE + 7
        invlpg  [rbx]
        mov     eax, [rbx]
        CHECK   eax, 0xbbbc, "by a small page again"

        # Absent entries need no invalidation once present.
        mov     qword ptr [TABLE + 16], 0x22007
        mov     eax, [rbx + 0x2000]
        CHECK   eax, 0xcccd, "a page that became present"

        # Global pages: a load of CR3 leaves them, a write to CR4.PGE does not.
        mov     rax, cr4
        or      eax, 0x80
        mov     cr4, rax
        mov     qword ptr [TABLE + 24], 0x20107
        mov     eax, [rbx + 0x3000]
        mov     qword ptr [TABLE + 24], 0x22107
        mov     rax, cr4
        and     eax, ~0x80
        mov     cr4, rax
        mov     eax, [rbx + 0x3000]
        CHECK   eax, 0xcccd, "a global page after CR4.PGE changed"
        DONE
