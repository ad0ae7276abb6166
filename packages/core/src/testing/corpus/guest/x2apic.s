# x2APIC mode: registers as MSRs, self IPI, what is refused; the way there and back.
#
# Source: AMD APM vol. 2, 16.9 to 16.15 (x2APIC); Intel SDM vol. 3, 11.12.

.include "long.s"

.macro READ index:req
        mov     ecx, \index
        rdmsr
.endm

.macro WRITE index:req, value:req
        mov     ecx, \index
        mov     eax, \value
        xor     edx, edx
        wrmsr
.endm

_start: SETUP
        GATE    0x40, note
        # xAPIC: the MSRs do not exist.
        mov     ecx, 0x802
        FAULT   13, 0, "an APIC MSR in xAPIC mode", rdmsr
        READ    0x1b
        and     eax, 0xfffffd00
        CHECK   eax, 0xfee00900, "APIC base: enabled, boot CPU"
        READ    0x1b
        or      eax, 0x400
        wrmsr
        READ    0x1b
        and     eax, 0xd00
        CHECK   eax, 0xd00, "x2APIC is on"
        READ    0x802
        CHECK   eax, 0, "ID"
        READ    0x803
        and     eax, 0xf0
        CHECK   eax, 0x10, "version"
        READ    0x80d
        CHECK   eax, 1, "logical ID: cluster 0, bit 0"
        mov     ecx, 0x80d
        FAULT   13, 0, "the logical ID is read-only", wrmsr
        mov     ecx, 0x802
        FAULT   13, 0, "the ID is read-only", wrmsr
        mov     ecx, 0x80b
        FAULT   13, 0, "EOI is write-only", rdmsr
        mov     eax, 1
        xor     edx, edx
        FAULT   13, 0, "EOI other than 0", wrmsr
        mov     ecx, 0x83f
        FAULT   13, 0, "self IPI is write-only", rdmsr
        mov     ecx, 0x80e
        FAULT   13, 0, "the DFR does not exist", rdmsr
        mov     ecx, 0x808
        mov     eax, 0x100
        xor     edx, edx
        FAULT   13, 0, "a reserved bit of the TPR", wrmsr

        WRITE   0x80f, 0x1ff
        mov     qword ptr [FREE], 0
        WRITE   0x83f, 0x40
        READ    0x822
        CHECK   eax, 1, "IRR of 0x40"
        sti
        ARRIVE
        cli
        mov     eax, [FREE]
        CHECK   eax, 1, "self IPI"

        # ICR: one 64-bit write; the destination is all of the upper half.
        mov     ecx, 0x830
        mov     eax, 0x40
        xor     edx, edx
        wrmsr
        sti
        ARRIVE
        cli
        mov     eax, [FREE]
        CHECK   eax, 2, "to itself by ID"
        mov     edx, -1
        mov     eax, 0x40
        wrmsr
        sti
        ARRIVE
        cli
        mov     eax, [FREE]
        CHECK   eax, 3, "to all"
        mov     edx, 0x00000001
        mov     eax, 0x840              # logical
        wrmsr
        sti
        ARRIVE
        cli
        mov     eax, [FREE]
        CHECK   eax, 4, "to itself by logical ID"

        # TPR and CR8.
        WRITE   0x808, 0x70
        mov     rax, cr8
        CHECK   rax, 7, "CR8"
        WRITE   0x808, 0

        # From x2APIC straight to xAPIC is refused; by way of off it is not.
        READ    0x1b
        and     eax, ~0x400
        FAULT   13, 0, "to xAPIC", wrmsr
        READ    0x1b
        and     eax, ~0xc00
        wrmsr
        or      eax, 0x800
        wrmsr
        mov     ebx, 0xfee00000
        mov     eax, [rbx + 0x20]
        CHECK   eax, 0, "the ID in xAPIC mode again"
        READ    0x1b
        and     eax, ~0xc00
        or      eax, 0x400
        FAULT   13, 0, "x2APIC without enable", wrmsr
        DONE

note:   push    rax
        push    rcx
        push    rdx
        inc     dword ptr [FREE]
        WRITE   0x80b, 0
        pop     rdx
        pop     rcx
        pop     rax
        iretq
