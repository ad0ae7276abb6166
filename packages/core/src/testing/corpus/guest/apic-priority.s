# Interrupts of the local APIC by priority: the task priority, what is in service, EOI.
#
# Source: AMD APM vol. 2, 16.6.3 (priorities), 16.6.4 (TPR, PPR), 16.4.6; 8.5.3 (CR8).

.include "long.s"

.set APIC, 0xfee00000

.macro SELF vector:req
        mov     dword ptr [rbx + 0x300], 0x44000 + \vector
.endm

.macro TAKE
        sti
        ARRIVE
        cli
.endm

_start: SETUP
        GATE    0x41, low
        GATE    0x52, middle
        GATE    0x53, middle2
        GATE    0x64, high
        mov     ebx, APIC
        mov     dword ptr [rbx + 0xf0], 0x1ff
        mov     edi, FREE               # the order of vectors
        mov     eax, [rbx + 0x20]
        CHECK   eax, 0, "ID of the boot CPU"
        mov     eax, [rbx + 0x30]
        and     eax, 0xf0
        CHECK   eax, 0x10, "version 1x"

        # Three wait: the highest comes first.
        SELF    0x41
        SELF    0x64
        SELF    0x52
        mov     eax, [rbx + 0x220]      # IRR 64 to 95
        CHECK   eax, 0x00040002, "IRR of 0x41 and 0x52"
        mov     eax, [rbx + 0x230]
        CHECK   eax, 0x10, "IRR of 0x64"
        TAKE
        mov     eax, [FREE]
        CHECK   eax, 0x415264, "by priority"
        mov     eax, [rbx + 0x220]
        CHECK   eax, 0, "IRR is empty"

        # The task priority holds back its class and those below; CR8 is its upper half.
        mov     dword ptr [rbx + 0x80], 0x50
        mov     rax, cr8
        CHECK   rax, 5, "CR8"
        mov     eax, [rbx + 0xa0]
        CHECK   eax, 0x50, "PPR"
        mov     edi, FREE
        mov     dword ptr [FREE], 0
        SELF    0x52
        SELF    0x64
        TAKE
        mov     eax, [FREE]
        CHECK   eax, 0x64, "class 6 alone"
        mov     eax, 4
        mov     cr8, rax
        mov     eax, [rbx + 0x80]
        CHECK   eax, 0x40, "TPR after a write of CR8"
        TAKE
        mov     eax, [FREE]
        CHECK   eax, 0x5264, "then class 5"
        xor     eax, eax
        mov     cr8, rax

        # In service: only a higher class interrupts; EOI lets the others.
        mov     edi, FREE
        mov     dword ptr [FREE], 0
        GATE    0x52, nesting
        SELF    0x52
        TAKE
        mov     eax, [FREE]
        CHECK   eax, 0x53526499, "nesting: 0x64 inside of 0x52, 0x53 of its class behind it"
        CHECK   r8d, 0x00040000, "ISR inside"
        CHECK   r9d, 0x50, "PPR inside, after 0x64"

        # The APIC is off: nothing comes; a spurious-vector register of 0xff.
        mov     dword ptr [rbx + 0xf0], 0xff
        mov     edi, FREE
        mov     dword ptr [FREE], 0
        TAKE
        mov     eax, [FREE]
        CHECK   eax, 0, "APIC software-disabled"
        mov     eax, [rbx + 0x320]
        and     eax, 0x10000
        CHECK   eax, 0x10000, "its LVT is masked"
        DONE

.macro NOTE vector:req
        mov     byte ptr [rdi], \vector
        inc     edi
        mov     dword ptr [rbx + 0xb0], 0
        iretq
.endm

low:    NOTE    0x41
middle: NOTE    0x52
middle2:
        NOTE    0x53
high:   NOTE    0x64
nesting:
        mov     byte ptr [rdi], 0x99
        inc     edi
        mov     r8d, [rbx + 0x120]
        SELF    0x53
        SELF    0x64
        TAKE
        mov     r9d, [rbx + 0xa0]
        NOTE    0x52
