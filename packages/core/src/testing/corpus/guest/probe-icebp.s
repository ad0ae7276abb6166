# Probe: ICEBP (INT1).
.include "long.s"
_start: SETUP
        TRAP    1, "ICEBP", .byte 0xf1
        DONE
