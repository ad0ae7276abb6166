# Faults of user mode: vectors, error codes of pages, CR2, and the frame on RSP0's stack.
#
# Source: AMD APM vol. 2, 8.2 (vectors), 8.4.2 (error code of #PF), 8.9.

.include "long.s"

.set ABSENT, 0x40000000
.set SYSTEM, 0x40200000                 # present, for CPL 0 alone
.set READ_ONLY, 0x40400000

_start: SETUP
        mov     qword ptr [TABLES + 0x3000], 0
        mov     qword ptr [TABLES + 0x3008], 0xe3
        mov     qword ptr [TABLES + 0x3010], 0xe5
        mov     rax, cr3
        mov     cr3, rax
        xor     edx, edx
        xor     ecx, ecx
        USER_FAULT 0, 0, 2, "division by zero", div ecx
        USER_FAULT 6, 0, 2, "UD2", ud2
        mov     ebx, ABSENT + 0x123
        USER_FAULT 14, 4, 2, "a load of an absent page", mov al, [rbx]
        mov     rax, cr2
        CHECK   rax, ABSENT+0x123, "CR2"
        USER_FAULT 14, 6, 2, "a store to it", mov [rbx], al
        mov     ebx, SYSTEM + 0x456
        USER_FAULT 14, 5, 2, "a load of a page of the system", mov al, [rbx]
        USER_FAULT 14, 7, 2, "a store to it", mov [rbx], al
        mov     rax, cr2
        CHECK   rax, SYSTEM+0x456, "CR2 of the store"
        mov     ebx, READ_ONLY
        USER_FAULT 14, 7, 2, "a store to a read-only page", mov [rbx], al
        USER_RUN 2, "a load of it", mov al, [rbx]
        mov     rbx, 0x800000000000
        USER_FAULT 13, 0, 2, "a non-canonical load", mov al, [rbx]
        USER_FAULT 13, 0, 2, "HLT", hlt

        # A fetch: of an absent page, of one of the system.
        PREPARE fetched
        mov     ebx, ABSENT
        USER    jumper
jumper: jmp     rbx
fetched:
        mov     eax, [EXC_VECTOR]
        CHECK   eax, 14, "a jump to an absent page: vector"
        mov     eax, [EXC_IP]
        CHECK   eax, ABSENT, "the same: instruction pointer"
        mov     eax, [EXC_ERROR]
        CHECK   eax, 4, "the same: error code, without NX"
        PREPARE system
        mov     ebx, SYSTEM
        USER    jumper
system: mov     eax, [EXC_ERROR]
        CHECK   eax, 5, "a jump to a page of the system: error code"

        # The frame.
        PREPARE framed
        USER    faults, 0x8d7
faults: lea     rsp, [rsp - 0x123]
        pushfq
        popfq
        ud2
framed: mov     rax, [EXC_SP]
        CHECK   rax, USER_STACK-0x123, "RSP in the frame"
        mov     eax, [EXC_SS]
        CHECK   eax, USER_DATA, "SS in the frame"
        mov     eax, [EXC_CS]
        CHECK   eax, USER_CODE64, "CS in the frame"
        mov     rax, [EXC_HANDLER_SP]
        CHECK   rax, KERNEL_STACK-40, "the handler's stack"
        mov     eax, [EXC_FLAGS]
        and     eax, 0x8d5
        CHECK   eax, 0x8d5, "RFLAGS in the frame"
        DONE
