# String instructions: direction, repetition by condition, counts of 0, sizes, flags that stay.
#
# Source: AMD APM vol. 3, CMPS, LODS, MOVS, SCAS, STOS; 1.2.6 (REP, REPE, REPNE).

.include "long.s"

_start: SETUP
        cld
        mov     esi, offset text
        mov     edi, FREE
        mov     ecx, 4
        rep movsq
        mov     rax, [FREE + 24]
        CHECK   rax, 0x2e676f6420797a61, "REP MOVSQ"
        mov     eax, FREE + 32
        sub     rdi, rax
        CHECK   rdi, 0, "RDI"

        # A count of 0 does nothing, and leaves the flags.
        xor     ecx, ecx
        stc
        repe cmpsb
        setc    al
        CHECK   al, 1, "CF behind REPE CMPSB of nothing"
        CHECK   ecx, 0, "RCX of it"

        # Overlap forwards copies one byte all over; backwards moves.
        mov     dword ptr [FREE], 0x00000041
        mov     esi, FREE
        mov     edi, FREE + 1
        mov     ecx, 100
        rep movsb
        mov     rax, [FREE + 93]
        CHECK   rax, 0x4141414141414141, "an overlapping copy repeats"
        mov     rax, 0x0807060504030201
        mov     [FREE], rax
        std
        mov     esi, FREE + 7
        mov     edi, FREE + 9
        mov     ecx, 8
        rep movsb
        cld
        mov     rax, [FREE + 2]
        CHECK   rax, 0x0807060504030201, "an overlapping copy downwards moves"
        CHECK   esi, FREE-1, "RSI downwards"

        # A distance of 4 with doublewords: each reads what the last one wrote.
        mov     dword ptr [FREE], 0x12345678
        mov     esi, FREE
        mov     edi, FREE + 4
        mov     ecx, 8
        rep movsd
        mov     eax, [FREE + 32]
        CHECK   eax, 0x12345678, "REP MOVSD over a distance of 4"
        # A distance of 3 with doublewords.
        mov     rax, 0x8877665544332211
        mov     [FREE], rax
        mov     esi, FREE
        mov     edi, FREE + 3
        mov     ecx, 2
        rep movsd
        mov     rax, [FREE + 3]
        CHECK   rax, 0x8844332244332211, "REP MOVSD over a distance of 3"

        # Search and comparison stop behind the element that decides.
        mov     edi, offset text
        mov     al, 'q'
        mov     ecx, 100
        repne scasb
        mov     eax, offset text
        sub     edi, eax
        CHECK   edi, 5, "REPNE SCASB"
        CHECK   ecx, 95, "RCX of it"
        mov     esi, offset text
        mov     edi, offset text2
        mov     ecx, 100
        repe cmpsb
        seta    al
        CHECK   ecx, 83, "REPE CMPSB"
        CHECK   al, 0, "'f' is below 'g'"
        mov     edi, FREE
        mov     eax, 0x41
        mov     ecx, 5
        rep stosd
        mov     edi, FREE
        mov     ecx, 5
        repe scasd
        setz    al
        CHECK   ecx, 0, "REPE SCASD to the end"
        CHECK   al, 1, "ZF of it"

        # LODS repeats too; a 32-bit address size uses ECX, ESI and EDI.
        mov     esi, offset text
        mov     ecx, 3
        rep lodsb
        CHECK   al, 'e', "REP LODSB"
        mov     rcx, 0x100000002
        mov     rdi, 0x500020000
        mov     al, 9
        addr32 rep stosb
        CHECK   rcx, 0, "ECX, zero-extended"
        CHECK   rdi, 0x20002, "EDI, zero-extended"

        # FS changes the source alone.
        mov     ecx, 0xc0000100
        mov     eax, 0x30000
        xor     edx, edx
        wrmsr
        mov     dword ptr [0x30010], 0xcafe1234
        mov     esi, 0x10
        mov     edi, FREE
        movsd   [rdi], fs:[rsi]
        mov     eax, [FREE]
        CHECK   eax, 0xcafe1234, "MOVSD from FS"
        DONE

text:   .ascii  "the quick brown fox; a lazy dog."
text2:  .ascii  "the quick brown gnu"
