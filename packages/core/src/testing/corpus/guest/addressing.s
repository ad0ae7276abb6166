# Effective addresses: SIB in every form, RIP-relative, 32-bit, the upper half of memory; prefixes
# that mean nothing.
#
# Source: AMD APM vol. 3, 1.4 to 1.8 (ModRM, SIB, REX), 1.2 (prefixes).

.include "long.s"

_start: mov     edi, FREE
        mov     ecx, 64
        cld
1:      lea     eax, [rdi - FREE]
        stosd
        loop    1b

        mov     ebx, FREE
        mov     esi, 4
        mov     eax, [rbx + rsi * 8 + 16]
        CHECK   eax, 48, "base + index * 8 + disp8"
        mov     eax, [rsi * 4 + FREE]
        CHECK   eax, 16, "index * 4 + disp32"
        mov     r13, rbx
        mov     r12, rbx
        mov     eax, [r13]
        CHECK   eax, 0, "R13 alone"
        mov     eax, [r12 + 4]
        CHECK   eax, 4, "R12 + disp8"
        mov     r12d, 2
        mov     eax, [rbx + r12 * 4]
        CHECK   eax, 8, "R12 as index"
        mov     rbp, rbx
        mov     eax, [rbp + rbp * 1 - FREE + 12]
        CHECK   eax, 12, "RBP as base and index"
        mov     eax, [there]
        CHECK   eax, 0xabcdef01, "an absolute address"
        mov     eax, [rip + there]
        CHECK   eax, 0xabcdef01, "RIP-relative"
        cmp     dword ptr [rip + there], 0xabcdef01
        setz    al
        CHECK   al, 1, "RIP-relative with an immediate behind"
        mov     rax, 0x500000000
        or      rbx, rax
        mov     eax, [ebx + 20]
        CHECK   eax, 20, "a 32-bit address ignores the upper half"
        mov     rbx, -16
        lea     rax, [ebx]
        CHECK   rax, 0xfffffff0, "LEA of a 32-bit address"
        lea     eax, [rbx + 1]
        CHECK   rax, 0xfffffff1, "LEA to 32 bits"
        movabs  eax, [FREE + 24]
        CHECK   eax, 24, "a 64-bit offset"

        # The upper half of the address space, mapped to the same memory.
        mov     rax, [TABLES]
        mov     [TABLES + 0xff8], rax
        mov     rax, cr3
        mov     cr3, rax
        mov     rbx, 0xffffff8000000000 + FREE
        mov     eax, [rbx + 28]
        CHECK   eax, 28, "the upper half"
        mov     dword ptr [rbx + 28], 1028
        mov     eax, [FREE + 28]
        CHECK   eax, 1028, "the same memory"
        mov     eax, offset high
        mov     rcx, 0xffffff8000000000
        or      rax, rcx
        jmp     rax
high:   lea     rcx, [rip]
after:  mov     rax, offset after
        sub     rcx, rax
        CHECK   rcx, 0xffffff8000000000, "RIP in the upper half"
        mov     eax, offset low
        jmp     rax
low:

        # Prefixes: CS, DS, ES, SS mean nothing, REX counts only right before the opcode, and a
        # word may be moved with everything in front.
        mov     ebx, FREE
        .byte   0x2e, 0x36, 0x26, 0x3e
        mov     eax, [rbx + 32]
        CHECK   eax, 32, "segment prefixes"
        mov     rax, -1
        .byte   0x48, 0x66              # the REX.W is lost
        .byte   0x8b, 0x43, 0x24        # mov ax, [rbx + 0x24]
        CHECK   rax, 0xffffffffffff0024, "REX before 66"
        xor     eax, eax
        .byte   0x66, 0x48, 0x8b, 0x43, 0x28
        mov     rcx, [FREE + 0x28]
        sub     rax, rcx
        CHECK   rax, 0, "66 before REX.W"
        DONE

there:  .long   0xabcdef01
