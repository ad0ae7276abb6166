# Probe: an execution breakpoint by DR0.
.include "long.s"
_start: SETUP
        mov     eax, offset here
        mov     dr0, rax
        mov     eax, 0x402
        mov     dr7, rax
        PREPARE after
here:   nop
after:  xor     eax, eax
        mov     dr7, rax
        mov     eax, [EXC_VECTOR]
        CHECK   eax, 1, "vector"
        DONE
