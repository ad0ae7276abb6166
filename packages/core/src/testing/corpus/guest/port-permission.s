# Ports at CPL 3: IOPL, then the bitmap of the TSS, for each byte of the access.
#
# Source: AMD APM vol. 2, 12.2.4 (I/O-permission bitmap); vol. 3, IN, OUT, INS, CLI.

.include "long.s"

.set IOPL3, 0x3002

_start: SETUP
        mov     word ptr [TSS + 102], 0x68      # beyond the limit: no bitmap
        USER_FAULT 13, 0, 2, "no bitmap", in al, PORT
        EXIT    "io in 0xe0 01"
        USER_RUN IOPL3, "IOPL 3 needs no bitmap", in al, PORT
        USER_RUN IOPL3, "CLI with IOPL 3", cli
        USER_FAULT 13, 0, 2, "STI with IOPL 0", sti

        # The bitmap up to port 0xff, 0xe0 to 0xe3 and 0xff allowed, and the byte of ones behind.
        mov     edi, TSS + 0x68
        mov     ecx, 0x21
        mov     al, 0xff
        cld
        rep stosb
        mov     byte ptr [TSS + 0x68 + PORT / 8], 0xf0
        mov     byte ptr [TSS + 0x68 + 0x1f], 0x7f
        mov     word ptr [GDT + TASK], 0x68 + 0x20
        mov     byte ptr [GDT + TASK + 5], 0x89
        mov     eax, TASK
        ltr     ax
        EXIT    "io in 0xe3 02"
        USER_RUN 2, "an allowed byte", in al, PORT + 3
        USER_FAULT 13, 0, 2, "a byte that is not", in al, PORT + 4
        EXIT    "io in 0xe2 0304"
        USER_RUN 2, "an allowed word", in ax, PORT + 2
        USER_FAULT 13, 0, 2, "a word half of which is not", in ax, PORT + 3
        EXIT    "io in 0xe0 05060708"
        USER_RUN 2, "an allowed doubleword", in eax, PORT
        USER_FAULT 13, 0, 2, "a doubleword a quarter of which is not", in eax, PORT + 1
        mov     edx, 0xff
        EXIT    "io in 0xff ff"
        USER_RUN 2, "the last byte of the bitmap", in al, dx
        USER_FAULT 13, 0, 2, "a word across its end", in ax, dx
        mov     edx, 0x110
        USER_FAULT 13, 0, 2, "a port beyond the TSS's limit", in al, dx
        mov     edi, FREE
        mov     edx, PORT + 4
        USER_FAULT 13, 0, 2, "INSB of a port that is not", insb
        DONE
