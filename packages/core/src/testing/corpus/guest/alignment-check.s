# #AC: at CPL 3 alone, with CR0.AM and RFLAGS.AC, for each size, error code 0.
#
# Source: AMD APM vol. 2, 8.2.18.

.include "long.s"

.set AC, 0x40002

_start: SETUP
        mov     ebx, FREE
        USER_RUN AC, "AM is clear", mov eax, [rbx + 1]
        mov     rax, cr0
        or      eax, 0x40000
        mov     cr0, rax
        USER_RUN 2, "AC is clear", mov eax, [rbx + 1]
        USER_FAULT 17, 0, AC, "a word", mov ax, [rbx + 1]
        USER_FAULT 17, 0, AC, "a doubleword", mov eax, [rbx + 2]
        USER_FAULT 17, 0, AC, "a quadword", mov rax, [rbx + 4]
        USER_FAULT 17, 0, AC, "a store", mov [rbx + 3], ax
        USER_FAULT 17, 0, AC, "a read-modify-write", add [rbx + 3], eax
        USER_RUN AC, "bytes", mov al, [rbx + 3]
        USER_RUN AC, "an aligned quadword", mov rax, [rbx + 8]
        USER_RUN AC, "an aligned word", mov ax, [rbx + 6]
        push    0x40002
        popfq
        NOFAULT "CPL 0", mov eax, [rbx + 1]
        push    2
        popfq
        mov     rax, cr4
        or      eax, 0x600
        mov     cr4, rax
        USER_FAULT 17, 0, AC, "an unaligned MOVUPS", movups xmm0, [rbx + 8]
        USER_FAULT 13, 0, AC, "an unaligned MOVAPS", movaps xmm0, [rbx + 8]
        mov     rbx, 0x800000000001
        USER_FAULT 13, 0, AC, "a non-canonical address", mov ax, [rbx]
        # The stack of user mode.
        PREPARE out
        USER    user, AC
user:   inc     rsp
at:     push    rax
out:    mov     eax, [EXC_VECTOR]
        CHECK   eax, 17, "PUSH with RSP odd"
        mov     eax, [EXC_IP]
        CHECK   eax, at, "the same: instruction pointer"
        # Alignment before the page fault.
        mov     qword ptr [TABLES + 0x3000], 0
        mov     rax, cr3
        mov     cr3, rax
        mov     ebx, 0x40000001
        USER_FAULT 17, 0, AC, "an absent page, unaligned", mov ax, [rbx]
        DONE
