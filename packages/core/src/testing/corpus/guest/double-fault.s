# A fault while another is delivered: which pairs make a double fault, and what it saves.
#
# Source: AMD APM vol. 2, 8.2.9 (#DF, table 8-3): contributory after contributory, and after #PF
# either class.

.include "long.s"

.set ABSENT, 0x40000000

_start: SETUP
        mov     qword ptr [TABLES + 0x3000], 0
        mov     rax, cr3
        mov     cr3, rax
        xor     edx, edx
        xor     ecx, ecx

        # Contributory (#DE), then its gate is not present (#NP): double fault, error code 0.
        mov     byte ptr [idt + 5], 0x0e
        FAULT   8, 0, "#DE, then #NP", div ecx
        mov     byte ptr [idt + 5], 0x8e

        # Benign (#UD), then contributory: the second is delivered, with EXT set.
        mov     byte ptr [idt + 6 * 16 + 5], 0x0e
        FAULT   11, 6*8+3, "#UD, then #NP", ud2
        mov     byte ptr [idt + 6 * 16 + 5], 0x8e

        # A page fault whose gate is not present.
        mov     byte ptr [idt + 14 * 16 + 5], 0x0e
        FAULT   8, 0, "#PF, then #NP", mov al, [ABSENT]
        mov     byte ptr [idt + 14 * 16 + 5], 0x8e

        # A page fault whose handler's stack is absent: #PF then #PF.
        mov     byte ptr [idt + 14 * 16 + 4], 1
        mov     byte ptr [idt + 8 * 16 + 4], 2
        mov     qword ptr [TSS + 36], ABSENT + 0x1000
        mov     qword ptr [TSS + 44], IST_STACK
        FAULT   8, 0, "#PF, then #PF", mov al, [ABSENT + 8]
        mov     rax, cr2
        CHECK   rax, ABSENT+0x1000-8, "CR2 of the second"
        mov     byte ptr [idt + 14 * 16 + 4], 0

        # Contributory, then a page fault: the page fault is delivered.
        mov     byte ptr [idt + 4], 1
        FAULT   14, 2, "#DE, then #PF", div ecx
        mov     byte ptr [idt + 4], 0

        # A software interrupt is benign; its gate's error has no EXT.
        mov     word ptr [idt + 20 * 16 + 2], 0
        FAULT   13, 0, "INT by a gate with a null selector", int 20
        mov     word ptr [idt + 6 * 16 + 2], 0
        FAULT   13, 1, "#UD by a gate with a null selector", ud2
        DONE
