# Runs random bytes in virtual-8086 mode; see include/random.s.

.include "layout.s"
.include "random.s"
.code32
.include "random-paging.s"

_start: SETUP_PAGING
        mov     dword ptr [TSS + 4], KERNEL_STACK
        mov     dword ptr [TSS + 8], DATA
        # An I/O bitmap that allows the ports of the corpus.
        mov     edi, TSS + 0x68
        mov     ecx, 0x101
        mov     al, 0xff
        cld
        rep stosb
        mov     byte ptr [TSS + 0x68 + PORT / 8], 0
        mov     word ptr [TSS + 102], 0x68
        mov     word ptr [GDT + TASK], 0x168
        mov     byte ptr [GDT + TASK + 5], 0x89
        mov     eax, TASK
        ltr     ax
        SETUP_IDT
        SETUP_TIMER
        mov     dword ptr [SEED], 1
again:  cld
        mov     eax, DATA
        mov     ds, eax
        mov     ss, eax
        mov     es, eax
        mov     esp, KERNEL_STACK
        mov     eax, APIC + 0xb0
        mov     dword ptr [eax], 0
        RANDOM
        push    FREE >> 4               # GS, FS, DS, ES
        push    FREE >> 4
        push    FREE >> 4
        push    FREE >> 4
        push    FREE >> 4               # SS:SP
        push    0xfff0
        mov     edx, eax
        and     edx, 0x30000            # IOPL of any level
        shr     edx, 4
        or      edx, 0x20202
        push    edx
        push    FREE >> 4
        and     eax, LENGTH_MASK
        push    eax
        iretd
