# Addresses that wrap in real mode: 16-bit offsets of strings and stacks, the first bytes above
# 1 MiB, instruction pointers.
#
# Source: AMD APM vol. 2, 1.2.4 and 8.6; vol. 1, 2.2 (16-bit effective addresses wrap).

.include "real.s"

_start: SETUP
        mov     ax, 0x3000
        mov     es, ax
        # The sum of base and displacement wraps at 64 KiB.
        mov     word ptr es:[0x0010], 0x1234
        mov     bx, 0xfff0
        mov     ax, es:[bx + 0x20]
        CHECK   ax, 0x1234, "BX + displacement"
        mov     si, 0x8010
        mov     bx, 0x8000
        mov     ax, es:[bx + si]
        CHECK   ax, 0x1234, "BX + SI"

        # String registers wrap between elements.
        mov     byte ptr es:[0xffff], 0x11
        mov     byte ptr es:[0], 0x22
        push    ds
        push    es
        pop     ds
        mov     si, 0xffff
        cld
        lodsb
        mov     ah, al
        lodsb
        pop     ds
        CHECK   ax, 0x1122, "LODSB across 0xffff"
        CHECK   si, 1, "SI behind it"
        mov     di, 0xfffe
        mov     cx, 4
        mov     al, 0x77
        rep stosb
        CHECK   di, 2, "DI behind REP STOSB"
        mov     al, es:[1]
        CHECK   al, 0x77, "the fourth byte, at 1"
        std
        mov     di, 1
        mov     cx, 3
        mov     al, 0x66
        rep stosb
        cld
        CHECK   di, 0xfffe, "DI behind REP STOSB downwards"
        mov     al, es:[0xffff]
        CHECK   al, 0x66, "the third byte, at 0xffff"

        # The stack pointer wraps: a push with SP = 0 goes to 0xfffe.
        mov     bx, sp
        mov     ax, es
        mov     ss, ax
        xor     sp, sp
        push    0x4321
        mov     dx, sp
        pop     cx
        mov     si, sp
        xor     ax, ax
        mov     ss, ax
        mov     sp, bx
        CHECK   dx, 0xfffe, "SP behind PUSH"
        CHECK   cx, 0x4321, "what was pushed"
        CHECK   si, 0, "SP behind POP"
        mov     ax, es:[0xfffe]
        CHECK   ax, 0x4321, "where it went"

        # ffff:0010 and above is memory above 1 MiB.
        mov     ax, 0xffff
        mov     fs, ax
        mov     word ptr fs:[0x10], 0x5a5a
        mov     ax, 0xffff
        mov     word ptr ds:[0], 0
        mov     ax, fs:[0x10]
        CHECK   ax, 0x5a5a, "ffff:0010"
        mov     ax, fs
        CHECK   ax, 0xffff, "FS"

        # A relative jump wraps IP.
        mov     byte ptr es:[0x10], 0xeb        # 0010: jmp -0x20
        mov     byte ptr es:[0x11], 0xde
        mov     byte ptr es:[0xfff0], 0xea      # fff0: jmp 0:there
        mov     word ptr es:[0xfff1], offset there
        mov     word ptr es:[0xfff3], 0
        .byte   0xea
        .word   0x10, 0x3000
there:  mov     ax, cs
        CHECK   ax, 0, "back by fff0"
        DONE
