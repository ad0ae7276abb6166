# Probe: two-level paging in protected mode, 4 MiB pages.
.include "protected.s"
_start: SETUP
        mov     dword ptr [TABLES], 0x87
        mov     eax, TABLES
        mov     cr3, eax
        mov     eax, cr4
        or      eax, 0x10
        mov     cr4, eax
        mov     eax, cr0
        or      eax, 0x80000000
        mov     cr0, eax
        jmp     1f
1:      mov     eax, [0x1000]
        DONE
