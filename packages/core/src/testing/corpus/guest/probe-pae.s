# Probe: PAE paging in protected mode, 2 MiB pages.
.include "protected.s"
_start: SETUP
        mov     dword ptr [TABLES], TABLES + 0x1001
        mov     dword ptr [TABLES + 0x1000], 0x87
        mov     eax, cr4
        or      eax, 0x20
        mov     cr4, eax
        mov     eax, TABLES
        mov     cr3, eax
        mov     eax, cr0
        or      eax, 0x80000000
        mov     cr0, eax
        jmp     1f
1:      mov     eax, [0x1000]
        DONE
