# Paging for random bytes at CPL 3 in protected mode: the first 4 MiB mapped to themselves, of which
# user mode has the bytes at FREE and its stack; the local APIC. An IDT at 0x18000.

.macro SETUP_PAGING
        mov     edi, TABLES
        mov     ecx, 0x800
        xor     eax, eax
        cld
        rep stosd
        mov     dword ptr [TABLES], TABLES + 0x1007
        mov     dword ptr [TABLES + 0xfec], 0xfec00083  # 4 MiB, the APIC's
        mov     eax, 3
        mov     edi, TABLES + 0x1000
1:      stosd
        add     eax, 0x1000
        cmp     eax, 0x400000
        jb      1b
        mov     edi, TABLES + 0x1000 + (FREE >> 10)
        mov     ecx, 16
2:      or      dword ptr [edi], 4
        add     edi, 4
        loop    2b
        or      dword ptr [TABLES + 0x1000 + ((USER_STACK - 1) >> 12) * 4], 4
        mov     eax, cr4
        or      eax, 0x610              # PSE, OSFXSR, OSXMMEXCPT
        mov     cr4, eax
        mov     eax, TABLES
        mov     cr3, eax
        mov     eax, cr0
        or      eax, 0x80010000
        mov     cr0, eax
        jmp     3f
3:
.endm

.macro SETUP_IDT
        mov     edi, 0x18000
        mov     ecx, 256
1:      mov     eax, offset again
        and     eax, 0xffff
        or      eax, CODE32 << 16
        stosd
        mov     eax, 0xee00
        stosd
        loop    1b
        lidt    [idt_pointer]
.endm

.macro SETUP_TIMER
        mov     ebx, APIC
        mov     dword ptr [ebx + 0xf0], 0x1ff
        mov     dword ptr [ebx + 0x3e0], 0xb
        mov     dword ptr [ebx + 0x320], 0x20040
        mov     dword ptr [ebx + 0x380], 3000
.endm

        jmp     _start
idt_pointer:
        .word   0x7ff
        .long   0x18000
