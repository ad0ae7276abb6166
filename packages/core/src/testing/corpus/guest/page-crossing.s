# Accesses that cross a page: values, faults of the second half before anything is written, the
# stack, and pages that are neighbours in virtual memory alone.
#
# Source: AMD APM vol. 2, 5.3 and 8.2.15 (#PF: CR2 is the byte that faulted), 8.5.

.include "long.s"

.set V, 0x40000000                      # 4 KiB pages: 0 and 1 backwards in memory, 2 absent
.set TABLE, 0x16000

_start: SETUP
        mov     edi, TABLE
        mov     ecx, 0x400
        xor     eax, eax
        cld
        rep stosd
        mov     qword ptr [TABLES + 0x3000], TABLE + 7
        mov     qword ptr [TABLE], 0x21007
        mov     qword ptr [TABLE + 8], 0x20007
        mov     qword ptr [TABLE + 24], 0x22005         # read-only
        mov     rax, cr3
        mov     cr3, rax

        mov     ebx, V
        mov     rax, 0x8877665544332211
        mov     [rbx + 0xffd], rax
        mov     rcx, [rbx + 0xffd]
        CHECK   rcx, 0x8877665544332211, "a quadword across pages"
        mov     ecx, [0x21ffd]
        and     ecx, 0xffffff
        CHECK   ecx, 0x332211, "its first three bytes"
        mov     rcx, [0x20000]
        shl     rcx, 24
        shr     rcx, 24
        CHECK   rcx, 0x8877665544, "its last five"
        mov     word ptr [rbx + 0xfff], 0xabcd
        mov     cl, [0x21fff]
        CHECK   cl, 0xcd, "the low byte of a word"
        mov     cl, [0x20000]
        CHECK   cl, 0xab, "the high byte"
        lock add dword ptr [rbx + 0xffe], 0x01010101
        mov     ecx, [rbx + 0xffe]
        CHECK   ecx, 0x56acce23, "LOCK ADD across pages"

        # The second page is absent: nothing is written, CR2 is its first byte.
        mov     dword ptr [rbx + 0x1ffc], 0x12345678
        FAULT   14, 2, "a store into an absent page", mov dword ptr [rbx + 0x1ffe], 0x55555555
        mov     rcx, cr2
        CHECK   rcx, V+0x2000, "CR2"
        mov     ecx, [rbx + 0x1ffc]
        CHECK   ecx, 0x12345678, "nothing was written"
        FAULT   14, 0, "a load across it", mov rcx, [rbx + 0x1ffb]
        FAULT   14, 2, "a read-modify-write across it", add qword ptr [rbx + 0x1ffb], 1
        FAULT   14, 2, "FXSAVE into it", fxsave [rbx + 0x1f00]
        mov     ecx, [rbx + 0x1ffc]
        CHECK   ecx, 0x12345678, "and nothing was written"

        # The first page is absent: CR2 is the access's first byte.
        FAULT   14, 0, "a load that begins there", mov eax, [rbx + 0x2ffe]
        mov     rcx, cr2
        CHECK   rcx, V+0x2ffe, "CR2 of the first byte"

        # The second page is read-only for user mode (CR0.WP is clear here: for CPL 3 alone).
        mov     qword ptr [TABLE + 16], 0x23007
        mov     rax, cr3
        mov     cr3, rax
        mov     dword ptr [rbx + 0x2ffc], 0x01020304
        USER_FAULT 14, 7, 2, "a store into a read-only page", mov [rbx + 0x2ffe], eax
        mov     rcx, cr2
        CHECK   rcx, V+0x3000, "CR2 at the read-only page"
        mov     ecx, [rbx + 0x2ffc]
        CHECK   ecx, 0x01020304, "nothing of it was written"

        # The stack across pages, and CALL, PUSH, ENTER there.
        mov     rbp, rsp
        lea     rsp, [rbx + 0x1004]
        mov     rcx, 0x0123456789abcdef
        push    rcx
        mov     rcx, [rbx + 0xffc]
        CHECK   rcx, 0x0123456789abcdef, "PUSH across pages"
        pop     rcx
        CHECK   rcx, 0x0123456789abcdef, "POP across pages"
        call    1f
1:      pop     rcx
        CHECK   rcx, 1b, "CALL across pages"
        mov     rsp, rbp

        # Code across pages: "mov eax, imm32" whose immediate lies in the second.
        mov     byte ptr [rbx + 0xffe], 0xb8
        mov     dword ptr [rbx + 0xfff], 0x0a0b0c0d
        mov     byte ptr [rbx + 0x1003], 0xc3
        lea     rax, [rbx + 0xffe]
        call    rax
        CHECK   eax, 0x0a0b0c0d, "an instruction across pages"

        # Code that runs into an absent page faults at its first byte there.
        mov     qword ptr [TABLE + 16], 0
        invlpg  [rbx + 0x2000]
        mov     word ptr [rbx + 0x1ffe], 0x9090
        PREPARE ran
        lea     rax, [rbx + 0x1ffe]
        jmp     rax
ran:    mov     eax, [EXC_VECTOR]
        CHECK   eax, 14, "code into an absent page: vector"
        mov     eax, [EXC_IP]
        CHECK   eax, V+0x2000, "the same: instruction pointer"

        # REP MOVSB into it: what came before is there, RCX and RDI tell how far.
        mov     esi, offset text
        lea     rdi, [rbx + 0x1ffb]
        mov     ecx, 16
        FAULT   14, 2, "REP MOVSB into it", rep movsb
        CHECK   ecx, 11, "RCX at the fault"
        sub     rdi, rbx
        CHECK   edi, 0x2000, "RDI at the fault"
        mov     al, [rbx + 0x1fff]
        CHECK   al, 'e', "the last byte before it"
        mov     qword ptr [TABLE + 16], 0x23007
        invlpg  [rbx + 0x2000]
        lea     rdi, [rbx + 0x2000]
        rep movsb
        mov     al, [0x2300a]
        CHECK   al, 'p', "and it goes on"
        DONE

text:   .ascii  "abcdefghijklmnop"
