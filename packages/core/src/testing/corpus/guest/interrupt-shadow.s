# Interrupts wait for the instruction behind STI, MOV SS and POP SS; a pending one comes right after
# it. The interrupt is the processor's own, sent by x2APIC.
#
# Source: AMD APM vol. 2, 8.1.4 and 8.3.1; vol. 3, STI, MOV, POP; 16.11 (x2APIC self IPI).

.include "long.s"

.macro PEND
        mov     ecx, 0x83f
        mov     eax, 0x40
        xor     edx, edx
        wrmsr
.endm

.macro TAKEN at:req, what:req
        mov     rax, [FREE]
        CHECK   rax, \at, "\what"
        mov     qword ptr [FREE], 0
.endm

_start: SETUP
        GATE    0x40, note
        mov     ecx, 0x1b
        rdmsr
        or      eax, 0x400
        wrmsr
        mov     ecx, 0x80f
        mov     eax, 0x1ff
        xor     edx, edx
        wrmsr
        mov     qword ptr [FREE], 0

        cli
        PEND
        nop
        TAKEN   0, "not with IF clear"
        sti
        nop
1:      nop
        TAKEN   1b, "behind the instruction after STI"

        # STI when IF is set already makes no shadow: the interrupt is taken at once.
        cli
        PEND
        sti
        cli
        nop
        TAKEN   0, "STI, CLI: never"
        sti
        sti
2:      nop
        nop
        TAKEN   2b, "behind the second STI"

        # POPF makes no shadow.
        cli
        PEND
        push    0x202
        popfq
3:      nop
        nop
        TAKEN   3b, "right behind POPF"

        # MOV SS.
        cli
        PEND
        mov     ebx, ss
        push    0x202
        mov     rdx, rsp
        sti
        mov     ss, ebx
        nop
4:      nop
        nop
        TAKEN   4b, "behind the instruction after MOV SS"
        pop     rax

        # IRET makes none.
        cli
        PEND
        mov     rdi, rsp
        push    DATA
        push    rdi
        push    0x202
        push    CODE64
        push    offset 5f
        iretq
5:      nop
        nop
        TAKEN   5b, "right behind IRET"

        # STI; HLT sleeps and is woken: RIP behind HLT.
        cli
        PEND
        sti
        hlt
6:      nop
        TAKEN   6b, "behind STI, HLT"

        # One instruction long, not one address: a jump to itself is left.
        cli
        PEND
        GATE    0x40, escape
        sti
7:      jmp     7b
8:      mov     rax, [FREE]
        CHECK   rax, 7b, "in a jump to itself behind STI"
        cli
        DONE

escape: mov     qword ptr [rsp], offset 8b
        mov     qword ptr [FREE], offset 7b
        iretq

note:   push    rax
        mov     rax, [rsp + 8]
        mov     [FREE], rax
        push    rcx
        push    rdx
        mov     ecx, 0x80b
        xor     eax, eax
        xor     edx, edx
        wrmsr
        pop     rdx
        pop     rcx
        pop     rax
        iretq
