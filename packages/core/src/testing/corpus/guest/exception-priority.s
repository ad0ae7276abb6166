# Which of several exceptions of one instruction is raised.
#
# Source: AMD APM vol. 2, 8.5 (priorities): fetch, then decoding and length, then #NM, then operands
# in the order of segment checks, alignment and paging; DIV reads before it divides.

.include "long.s"

.set NOT_PRESENT, 0x40000000            # mapped by nothing once its entry is cleared

_start: SETUP
        # The 2 MiB page at NOT_PRESENT goes.
        mov     qword ptr [TABLES + 0x3000], 0
        mov     qword ptr [TABLES + 0x2ff8], 0xe7       # before it, RAM
        mov     rax, cr3
        mov     cr3, rax

        mov     ebx, NOT_PRESENT
        FAULT   14, 0, "a load of a page that is not present", mov al, [rbx]
        FAULT   14, 2, "a store to it", mov [rbx], al
        FAULT   14, 2, "a read-modify-write of it", add [rbx], al
        mov     rax, cr2
        CHECK   rax, NOT_PRESENT, "CR2"
        xor     edx, edx
        FAULT   14, 0, "DIV by it, before the division", div dword ptr [rbx]

        # #UD by LOCK comes before the operand is looked at.
        FAULT   6, 0, "LOCK of a load", .byte 0xf0, 0x8a, 0x03

        # More than 15 bytes: #GP, even where the opcode is undefined.
        PREPARE too_long
        jmp     long_one
too_long:
        mov     eax, [EXC_VECTOR]
        CHECK   eax, 13, "an instruction of 17 bytes: vector"
        mov     eax, [EXC_IP]
        CHECK   eax, long_one, "the same: instruction pointer"

        # #UD by CR4.OSFXSR before #NM by CR0.TS; #NM before the page fault.
        mov     rax, cr0
        or      eax, 8
        mov     cr0, rax
        FAULT   6, 0, "SSE without OSFXSR, TS set", movups xmm0, [rbx]
        mov     rax, cr4
        or      eax, 0x200
        mov     cr4, rax
        FAULT   7, 0, "SSE with OSFXSR, TS set", movups xmm0, [rbx]
        FAULT   7, 0, "x87, TS set", fld dword ptr [rbx]
        clts
        FAULT   14, 0, "SSE, TS clear", movups xmm0, [rbx]

        # Non-canonical before alignment; alignment (#GP of MOVAPS) before the page.
        mov     rbx, 0x800000000001
        FAULT   13, 0, "a non-canonical and unaligned MOVAPS", movaps xmm0, [rbx]
        mov     ebx, NOT_PRESENT + 1
        FAULT   13, 0, "an unaligned MOVAPS of an absent page", movaps xmm0, [rbx]

        # At CPL 3: privilege before operands.
        mov     rbx, 0x800000000000
        USER_FAULT 13, 0, 2, "LGDT of a non-canonical address", lgdt [rbx]
        mov     ebx, NOT_PRESENT
        USER_FAULT 13, 0, 2, "LGDT of an absent page", lgdt [rbx]
        USER_FAULT 14, 4, 2, "a load of an absent page", mov al, [rbx]
        USER_FAULT 14, 6, 2, "SGDT to an absent page", sgdt [rbx]

        # Fetch: the page fault of the next byte, with the address of that byte.
        mov     byte ptr [NOT_PRESENT - 1], 0x0f
        PREPARE fetched
        mov     eax, NOT_PRESENT - 1
        jmp     rax
fetched:
        mov     eax, [EXC_VECTOR]
        CHECK   eax, 14, "an instruction whose second byte is absent: vector"
        mov     eax, [EXC_IP]
        CHECK   eax, NOT_PRESENT-1, "the same: instruction pointer"
        mov     rax, cr2
        CHECK   rax, NOT_PRESENT, "the same: CR2"
        DONE

long_one:
        .fill   15, 1, 0x66
        .byte   0x0f, 0x0b
