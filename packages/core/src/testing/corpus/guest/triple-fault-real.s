# A fault during a double fault shuts the processor down.
#
# Source: AMD APM vol. 2, 8.2.9 and 14.1.3 (shutdown).

.include "real.s"

_start: SETUP                           # a processor that ignores the limit ends in FAIL
        mov     eax, 1
        CHECK   eax, 1, "before"
        lidt    ds:[nothing]
        ud2
        FAIL

nothing:
        .word   0
        .quad   0
