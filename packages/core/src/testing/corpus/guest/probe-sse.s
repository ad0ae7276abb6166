# Probe: SSE at CPL 0.
.include "long.s"
_start: SETUP
        mov     rax, cr4
        or      eax, 0x220
        mov     cr4, rax
        mov     eax, 7
        movd    xmm0, eax
        paddd   xmm0, xmm0
        movd    ecx, xmm0
        CHECK   ecx, 14, "7 + 7"
        DONE
