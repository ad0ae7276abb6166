# Probe: LAR, LSL and VERR.
.include "long.s"
_start: SETUP
        mov     ecx, DATA
        lar     eax, ecx
        lsl     edx, ecx
        CHECK   eax, 0xcf9300, "LAR"
        CHECK   edx, 0xffffffff, "LSL"
        verr    cx
        setz    al
        CHECK   al, 1, "VERR"
        DONE
