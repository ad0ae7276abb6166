# Probe: x87 arithmetic at CPL 0.
.include "long.s"
_start: SETUP
        fninit
        fld1
        fld1
        faddp
        fistp   dword ptr [FREE]
        mov     eax, [FREE]
        CHECK   eax, 2, "1 + 1"
        DONE
