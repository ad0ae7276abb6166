# Ports: IN and OUT of every size, INS and OUTS, repeated and not, with both directions.
#
# Source: AMD APM vol. 3, IN, INS, OUT, OUTS, REP.

.include "real.s"

_start: SETUP
        EXIT    "io out 0xe0 12"
        mov     al, 0x12
        out     PORT, al
        EXIT    "io out 0xe1 3412"
        mov     ax, 0x1234
        out     PORT + 1, ax
        EXIT    "io out 0xe2 78563412"
        mov     eax, 0x12345678
        mov     dx, PORT + 2
        out     dx, eax
        EXIT    "io in 0xe0 01"
        mov     eax, -1
        in      al, PORT
        CHECK   eax, 0xffffff01, "IN AL keeps the upper bytes"
        EXIT    "io in 0xe0 0203"
        mov     eax, -1
        in      ax, PORT
        CHECK   eax, 0xffff0302, "IN AX keeps the upper word"
        EXIT    "io in 0xe2 04050607"
        in      eax, dx
        CHECK   eax, 0x07060504, "IN EAX"

        EXIT    "io out 0xe2 61"
        EXIT    "io out 0xe2 62"
        EXIT    "io out 0xe2 63"
        cld
        mov     si, offset text
        mov     cx, 3
        rep outsb
        mov     ax, si
        sub     ax, offset text
        CHECK   ax, 3, "SI after REP OUTSB"
        CHECK   cx, 0, "CX after REP OUTSB"
        EXIT    "io out 0xe2 6364"
        EXIT    "io out 0xe2 6162"
        std
        mov     si, offset text + 2
        mov     cx, 2
        rep outsw
        cld
        mov     ax, si
        sub     ax, offset text
        CHECK   ax, 0xfffe, "SI after REP OUTSW downwards"
        EXIT    "io out 0xe2 61626364"
        mov     si, offset text
        outsd

        EXIT    "io in 0xe2 08"
        EXIT    "io in 0xe2 09"
        EXIT    "io in 0xe2 0a"
        EXIT    "io in 0xe2 0b"
        EXIT    "io in 0xe2 0c"
        mov     di, 0x700
        mov     cx, 5
        rep insb
        CHECK   di, 0x705, "DI after REP INSB"
        EXIT    "io in 0xe2 0d0e"
        insw
        EXIT    "io in 0xe2 0f101112"
        insd
        mov     eax, ds:[0x700]
        CHECK   eax, 0x0b0a0908, "INSB to memory"
        mov     eax, ds:[0x704]
        CHECK   eax, 0x0f0e0d0c, "INSB and INSW to memory"
        mov     cx, 0
        rep outsb
        rep insb
        CHECK   di, 0x70b, "DI after REP INSB of nothing"
        DONE

text:   .ascii  "abcd"
