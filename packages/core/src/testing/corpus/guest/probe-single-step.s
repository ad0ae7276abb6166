# Probe: TF and the trap behind an instruction.
.include "long.s"
_start: SETUP
        PREPARE stepped
        pushfq
        or      dword ptr [rsp], 0x100
        popfq
        nop
stepped:
        mov     eax, [EXC_VECTOR]
        CHECK   eax, 1, "vector"
        DONE
