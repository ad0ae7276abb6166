# ENTER with nesting levels.
#
# Source: AMD APM vol. 3, ENTER.

.include "long.s"

_start: mov     rbx, rsp
        # ENTER with nesting copies the frames' pointers.
        mov     ebp, FREE + 0x100
        mov     qword ptr [rbp - 8], 0x1111
        mov     qword ptr [rbp - 16], 0x2222
        enter   32, 3
        mov     rcx, rbx
        sub     rcx, rsp
        CHECK   rcx, 64, "what ENTER 32, 3 takes"
        mov     rcx, rbx
        sub     rcx, rbp
        CHECK   rcx, 8, "RBP: the new frame"
        mov     rax, [rbp]
        CHECK   rax, FREE+0x100, "RBP saved"
        mov     rax, [rbp - 8]
        CHECK   rax, 0x1111, "the first frame pointer"
        mov     rax, [rbp - 16]
        CHECK   rax, 0x2222, "the second"
        mov     rax, [rbp - 24]
        sub     rax, rbp
        CHECK   rax, 0, "its own"
        leave
        mov     rcx, rbx
        sub     rcx, rsp
        CHECK   rcx, 0, "RSP after LEAVE"
        CHECK   rbp, FREE+0x100, "RBP after LEAVE"

        DONE
