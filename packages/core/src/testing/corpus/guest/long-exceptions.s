# Exceptions in long mode: vectors, error codes, saved pointers, the aligned frame.
#
# Source: AMD APM vol. 2, 8.2 (vectors and error codes), 8.9 (stack frame); vol. 3, DIV, IDIV.

.include "long.s"

_start: SETUP
        xor     edx, edx
        mov     eax, 1
        xor     ecx, ecx
        FAULT   0, 0, "division by zero", div ecx
        mov     edx, 1
        mov     ecx, 1
        FAULT   0, 0, "quotient beyond 32 bits", div ecx
        FAULT   6, 0, "UD2", ud2
        FAULT   13, 0x77c8, "a selector beyond the GDT", mov fs, [far_selector]
        mov     eax, DATA
        mov     fs, eax
        push    0
        push    0
        FAULT   13, 0, "a far return to a null selector", retfq
        add     rsp, 16

        # Non-canonical addresses: #GP for data, #SS for the stack, both with error code 0.
        mov     rbx, 0x800000000000
        FAULT   13, 0, "a non-canonical load", mov al, [rbx]
        mov     rbp, rbx
        FAULT   12, 0, "a non-canonical load by RBP", mov al, [rbp]
        FAULT   13, 0, "a non-canonical jump", jmp rbx
        mov     rbp, rsp
        FAULT   13, 0, "a non-canonical call", call rbx
        push    rbx
        FAULT   13, 0, "a non-canonical return", ret
        pop     rax
        sub     rbp, rsp
        CHECK   rbp, 0, "RSP after the call and the return that failed"
        CHECK   rax, 0x800000000000, "what the return left on the stack"

        # The frame is aligned to 16 bytes and always has SS:RSP.
        mov     rbx, rsp
        sub     rsp, 3
        mov     rcx, rsp
        TRY     ud2
        mov     rsp, rbx
        mov     rax, [EXC_SP]
        sub     rcx, rax
        CHECK   rcx, 0, "RSP in the frame, without a change of privilege"
        mov     rax, [EXC_SS]
        CHECK   eax, DATA, "SS in the frame"
        mov     rax, [EXC_HANDLER_SP]
        sub     rbx, rax
        CHECK   rbx, 0x38, "distance of the aligned frame"
        DONE

far_selector:
        .word   0x77c8
