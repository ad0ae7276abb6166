# Data in real mode: far pointers, XLAT, PUSHA, ENTER, 32-bit operands and addresses, loops.
#
# Source: AMD APM vol. 3, ENTER, JCXZ, LDS, LOOP, POPA, PUSHA, XLAT; vol. 1, 2.2.

.include "real.s"

_start: xor     ax, ax
        mov     es, ax
        les     di, ds:[pointer]
        mov     ax, es
        CHECK   ax, 0x2345, "LES: ES"
        CHECK   di, 0x6789, "LES: DI"
        mov     bx, offset table
        mov     al, 2
        xlatb
        CHECK   al, 0x33, "XLAT"

        mov     bx, sp
        mov     ax, 1
        mov     cx, 2
        mov     dx, 3
        mov     si, 6
        mov     di, 7
        pusha
        mov     bp, sp
        mov     ax, [bp + 8]
        sub     ax, bx
        CHECK   ax, 0, "PUSHA: SP as it was"
        mov     ax, [bp]
        CHECK   ax, 7, "PUSHA: DI last"
        mov     word ptr [bp + 2], 66
        popa
        CHECK   si, 66, "POPA: SI"
        CHECK   ax, 1, "POPA: AX"
        sub     bx, sp
        CHECK   bx, 0, "POPA: SP"

        mov     bx, sp
        mov     bp, 0x5555
        enter   6, 0
        mov     ax, bx
        sub     ax, sp
        CHECK   ax, 8, "ENTER 6, 0"
        leave
        CHECK   bp, 0x5555, "LEAVE"

        # 32-bit operands and addresses.
        mov     eax, 0x12345678
        push    eax
        pop     cx
        pop     dx
        CHECK   cx, 0x5678, "the low word"
        CHECK   dx, 0x1234, "the high word"
        mov     ebx, 0x100
        mov     ecx, 4
        mov     dword ptr ds:[0x714], 0xfeedf00d
        mov     eax, [ebx + ecx * 4 + 0x604]
        CHECK   eax, 0xfeedf00d, "SIB"
        movsx   eax, byte ptr ds:[table + 4]
        CHECK   eax, 0xffffff80, "MOVSX to 32 bits"
        mov     eax, 0xffffffff
        mul     eax
        CHECK   edx, 0xfffffffe, "MUL of doublewords"

        # Loops by CX and ECX.
        mov     ecx, 0x10003
        xor     ax, ax
1:      inc     ax
        loop    1b
        CHECK   ax, 3, "LOOP counts CX"
        CHECK   ecx, 0x10000, "and leaves the upper half"
        mov     al, 0
        jcxz    2f
        mov     al, 1
2:      CHECK   al, 0, "JCXZ looks at CX"
        mov     al, 0
        .byte   0x67                    # JECXZ
        jcxz    3f
        mov     al, 1
3:      CHECK   al, 1, "JECXZ looks at ECX"

        # A far call and return, an interrupt by hand.
        .byte   0x9a
        .word   callee, 0
        CHECK   ax, 0x4321, "a far call"
        pushf
        push    cs
        push    offset 4f
        iret
        FAIL
4:      mov     ax, sp
        CHECK   ax, STACK, "SP in the end"
        DONE

callee: mov     ax, 0x4321
        retf
pointer:
        .word   0x6789, 0x2345
table:  .byte   0x11, 0x22, 0x33, 0x44, 0x80
