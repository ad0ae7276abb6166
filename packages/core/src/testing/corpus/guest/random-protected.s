# Runs random bytes in protected mode, with paging; see include/random.s.

.include "layout.s"
.include "random.s"
.code32
.include "random-paging.s"

_start: SETUP_PAGING
        mov     dword ptr [TSS + 4], KERNEL_STACK
        mov     dword ptr [TSS + 8], DATA
        SETUP_IDT
        SETUP_TIMER
        mov     dword ptr [SEED], 1
again:  cld
        mov     eax, DATA
        mov     ds, eax
        mov     ss, eax
        mov     esp, KERNEL_STACK
        mov     eax, APIC + 0xb0
        mov     dword ptr [eax], 0
        mov     eax, USER_DATA
        mov     es, eax
        RANDOM
        test    eax, 0x70000            # one in eight at CPL 0
        jz      1f
        push    USER_DATA
        push    USER_STACK
        push    0x202
        push    USER_CODE32
        jmp     2f
1:      push    0x202
        push    CODE32
2:      and     eax, LENGTH_MASK
        add     eax, FREE
        push    eax
        test    dword ptr [esp + 4], 3
        jz      3f
        mov     eax, USER_DATA
        mov     ds, eax
3:      iretd
