# Probe: INT3 and INT n at CPL 0 in protected mode.
.include "protected.s"
_start: SETUP
        TRAP    3, "INT3", int3
        TRAP    20, "INT 20", int 20
        DONE
