# The stack in 64-bit mode: sizes, RSP as operand, ENTER, LEAVE, returns that release.
#
# Source: AMD APM vol. 3, CALL, ENTER, LEAVE, POP, PUSH, RET.

.include "long.s"

_start: mov     rbx, rsp
        push    -1
        pop     rax
        CHECK   rax, -1, "an immediate is sign-extended"
        mov     ax, 0x1234
        push    ax
        mov     rcx, rbx
        sub     rcx, rsp
        CHECK   rcx, 2, "a word"
        pop     ax
        push    rsp
        pop     rax
        sub     rax, rbx
        CHECK   rax, 0, "PUSH RSP pushes the old one"
        mov     rax, rbx
        push    rax
        push    rax
        pop     rsp
        mov     rcx, rbx
        sub     rcx, rsp
        CHECK   rcx, 0, "POP RSP"
        mov     rsp, rbx
        push    fs
        mov     rcx, rbx
        sub     rcx, rsp
        CHECK   rcx, 8, "PUSH FS"
        pop     rax
        CHECK   ax, DATA, "FS"
        push    0x55
        pop     qword ptr [rsp + 0x10 - 0x18]
        mov     rax, [rsp - 8]
        CHECK   rax, 0x55, "POP by RSP: the address has the new one"
        mov     eax, 0x77
        mov     [rsp - 8], rax
        push    qword ptr [rsp - 8]
        pop     rax
        CHECK   rax, 0x77, "PUSH by RSP: the address has the old one"

        # ENTER and LEAVE.
        mov     ebp, FREE + 0x100
        enter   32, 0
        mov     rcx, rbx
        sub     rcx, rsp
        CHECK   rcx, 40, "what ENTER 32, 0 takes"
        mov     rax, [rbp]
        CHECK   rax, FREE+0x100, "RBP saved"
        leave
        mov     rcx, rbx
        sub     rcx, rsp
        CHECK   rcx, 0, "RSP after LEAVE"
        CHECK   rbp, FREE+0x100, "RBP after LEAVE"

        # Calls of every kind.
        push    1
        push    2
        call    callee
        mov     rcx, rbx
        sub     rcx, rsp
        CHECK   rcx, 0, "RET 16"
        CHECK   eax, 3, "its sum"
        mov     qword ptr [FREE], offset plain
        call    [FREE]
        CHECK   eax, 42, "CALL by memory"
        mov     eax, offset plain
        call    rax
        mov     rcx, rbx
        sub     rcx, rsp
        CHECK   rcx, 0, "RSP in the end"

        # A far return to the same level.
        push    CODE64
        push    offset returned
        retfq
        FAIL
returned:
        mov     rcx, rbx
        sub     rcx, rsp
        CHECK   rcx, 0, "RSP after a far return"
        mov     eax, cs
        CHECK   ax, CODE64, "CS after it"
        DONE

callee: mov     rax, [rsp + 8]
        add     rax, [rsp + 16]
        ret     16
plain:  mov     eax, 42
        ret
