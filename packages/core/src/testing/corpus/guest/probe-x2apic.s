# Probe: the local APIC in x2APIC mode.
.include "long.s"
_start: SETUP
        mov     ecx, 0x1b
        rdmsr
        or      eax, 0x400
        wrmsr
        mov     ecx, 0x802
        rdmsr
        CHECK   eax, 0, "x2APIC ID of the boot CPU"
        DONE
