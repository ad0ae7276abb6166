# A second CPU in long mode: `START_CPU target` sends INIT and SIPI through the local APIC (xAPIC)
# to all others; each enters 64-bit mode at `target` with a stack of its own, the IDT loaded.
#
# Source: AMD APM vol. 2, 14.6 (long mode), 16.5 and 16.6 (IPIs, INIT and SIPI).

.include "long.s"

.set APIC, 0xfee00000
.set TRAMPOLINE, 0x70000
.set CPU_STACK, 0x78000

.macro START_CPU target:req
        mov     qword ptr [cpu_target], offset \target
        cld
        mov     esi, offset trampoline
        mov     edi, TRAMPOLINE
        mov     ecx, offset trampoline_end - trampoline
        rep movsb
        mov     ebx, APIC
        mov     dword ptr [rbx + 0xf0], 0x1ff
        mov     dword ptr [rbx + 0x300], 0xc4500
        mov     dword ptr [rbx + 0x300], 0xc4600 + (TRAMPOLINE >> 12)
.endm

# Waits until the doubleword has a value.
.macro AWAIT address:req, value:req
1:      pause
        cmp     dword ptr [\address], \value
        jne     1b
.endm

.macro END_OF_INTERRUPT
        push    rax
        mov     eax, APIC + 0xb0
        mov     dword ptr [rax], 0
        pop     rax
.endm

cpu_target:
        .quad   0
trampoline:
.code16
        cli
        mov     ax, cs
        mov     ds, ax
        lgdt    ds:[trampoline_gdt - trampoline]
        mov     eax, 0x220
        mov     cr4, eax
        mov     eax, TABLES
        mov     cr3, eax
        mov     ecx, 0xc0000080
        rdmsr
        or      eax, 0x100
        wrmsr
        mov     eax, 0x80000011
        mov     cr0, eax
        .byte   0xea
        .word   cpu_long, CODE64
trampoline_gdt:
        .word   0xff
        .long   GDT
trampoline_end:
.code64
cpu_long:
        mov     eax, DATA
        mov     ds, eax
        mov     es, eax
        mov     ss, eax
        mov     esp, CPU_STACK
        lidt    [idt_pointer]
        mov     ebx, 0xfee00000
        mov     dword ptr [rbx + 0xf0], 0x1ff
        jmp     [cpu_target]
