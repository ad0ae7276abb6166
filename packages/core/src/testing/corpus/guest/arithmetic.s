# Integer arithmetic in kernel mode: carries over words, widths, products, quotients, shifts, bits.
#
# Source: AMD APM vol. 3 for each instruction.

.include "long.s"

.macro FLAGS expected:req, what:req
        pushfq
        pop     rdx
        and     edx, 0x8d5
        CHECK   edx, \expected, "\what"
.endm

_start: mov     rax, -1
        mov     rbx, 5
        add     rax, 2
        adc     rbx, 0
        CHECK   rax, 1, "the low word of a sum"
        CHECK   rbx, 6, "the high word"
        sub     rax, 2
        sbb     rbx, 10
        CHECK   rbx, -5, "the high word of a difference"
        mov     al, 0x7f
        add     al, 1
        FLAGS   0x890, "7f + 1: OF SF AF"
        mov     al, 0x80
        sub     al, 1
        FLAGS   0x810, "80 - 1: OF AF"
        xor     eax, eax
        FLAGS   0x44, "XOR: ZF PF"
        mov     eax, 0x80000000
        neg     eax
        FLAGS   0x885, "NEG of the smallest: OF SF PF CF"
        mov     rax, -1
        mov     eax, eax
        CHECK   rax, 0xffffffff, "32-bit results are zero-extended"
        mov     rax, -1
        mov     ax, 1
        CHECK   rax, 0xffffffffffff0001, "16-bit ones are not"
        mov     ah, 2
        CHECK   rax, 0xffffffffffff0201, "AH"

        mov     rax, 0x123456789abcdef0
        mov     rcx, 0xfedcba9876543210
        mul     rcx
        CHECK   rax, 0x236d88fe5618cf00, "MUL: low"
        CHECK   rdx, 0x121fa00ad77d7422, "MUL: high"
        div     rcx
        CHECK   rax, 0x123456789abcdef0, "DIV: quotient"
        CHECK   rdx, 0, "DIV: remainder"
        mov     rax, -7
        cqo
        mov     ecx, 2
        idiv    rcx
        CHECK   rax, -3, "IDIV truncates"
        CHECK   rdx, -1, "IDIV: the remainder has the dividend's sign"
        mov     eax, -5
        imul    ecx, eax, 1000
        CHECK   ecx, 0xffffec78, "IMUL with an immediate"
        mov     eax, 0x10000
        imul    eax, eax
        setc    dl
        CHECK   dl, 1, "IMUL that overflows: CF"

        mov     al, 0x81
        shl     al, 1
        setc    dl
        CHECK   dl, 1, "CF of SHL"
        mov     eax, 0x80000001
        sar     eax, 4
        CHECK   eax, 0xf8000000, "SAR"
        mov     eax, 1
        mov     cl, 33
        shl     eax, cl
        CHECK   eax, 2, "a count above 31"
        stc
        mov     al, 0
        rcl     al, 1
        CHECK   al, 1, "RCL"
        mov     eax, 0x12345678
        rol     eax, 8
        CHECK   eax, 0x34567812, "ROL"
        mov     rax, 0x1122334455667788
        mov     rdx, 0x99aabbccddeeff00
        shld    rax, rdx, 16
        CHECK   rax, 0x33445566778899aa, "SHLD"
        bswap   rax
        CHECK   rax, 0xaa99887766554433, "BSWAP"
        mov     ecx, 0x00f00000
        bsf     eax, ecx
        bsr     edx, ecx
        CHECK   eax, 20, "BSF"
        CHECK   edx, 23, "BSR"
        xor     ecx, ecx
        bsf     eax, ecx
        setz    dl
        CHECK   dl, 1, "BSF of 0: ZF"
        mov     qword ptr [FREE], 0
        mov     rcx, 100
        bts     [FREE], rcx
        mov     eax, [FREE + 12]
        CHECK   eax, 0x10, "BTS reaches beyond its operand"
        mov     rcx, -8
        bts     [FREE + 8], rcx
        mov     rax, [FREE]
        mov     rcx, 0x0100000000000000
        sub     rax, rcx
        CHECK   rax, 0, "and before it"
        mov     eax, 1
        mov     ecx, 2
        cmp     eax, ecx
        cmovl   eax, ecx
        cmovg   ecx, edx
        CHECK   eax, 2, "CMOVL"
        CHECK   ecx, 2, "CMOVG"
        movsxd  rax, dword ptr [minus]
        CHECK   rax, -2, "MOVSXD"
        mov     ax, 0x80
        cbw
        movsx   eax, ax
        CHECK   eax, 0xffffff80, "CBW"
        DONE
minus:  .long   -2
