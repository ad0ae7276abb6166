# Accesses through page tables of four and five levels, as a table of cases says.
#
# Source: AMD APM vol. 2, 5.3-5.6 (long-mode paging, protection), 8.4.2 (page-fault error code).

.include "long.s"
.include "paging.s"

_start: SETUP
        mov     eax, OWN
        lldt    ax

batch:  mov     al, 0
        out     PORT, al
        mov     rsi, CASES
        mov     r15, [COUNT]
        test    r15, r15
        jz      end

next:   .set    level, 0
        .rept   LEVELS
        mov     rax, [rsi + ENTRIES + level * 8]
        mov     rdi, [PLACES + level * 8]
        mov     [rdi], rax
        .set    level, level + 1
        .endr
        mov     ecx, EFER
        mov     eax, [rsi + SET_EFER]
        xor     edx, edx
        wrmsr
        mov     rax, [rsi + SET_CR4]
        mov     cr4, rax
        mov     rax, [ROOT]
        mov     cr3, rax
        mov     rax, [rsi + SET_CR0]
        mov     cr0, rax
        test    dword ptr [rsi + SET_CR4], CR4_PKE
        jz      1f
        mov     eax, [rsi + SET_PKRU]
        xor     ecx, ecx
        xor     edx, edx
        wrpkru
1:      xor     eax, eax
        mov     cr2, rax
        PREPARE after
        mov     r8, [rsi + ADDRESS]
        mov     r9, [rsi + FLAGS]
        mov     ebx, [rsi + KIND]
        shl     ebx, 4
        cmp     dword ptr [rsi + FROM_USER], 0
        jne     2f
        add     ebx, offset stubs_of_supervisor
        push    r9
        popfq
        jmp     rbx
2:      add     ebx, offset user_stubs
        push    USER_DATA
        push    USER_STACK
        push    r9
        push    USER_CODE64
        push    rbx
        iretq

after:  push    2
        popfq
        mov     eax, [EXC_VECTOR]
        mov     edx, -1
        cmp     eax, DONE_VECTOR
        cmove   eax, edx
        mov     [rsi + VECTOR], eax
        mov     eax, [EXC_ERROR]
        mov     [rsi + ERROR], eax
        mov     rax, cr2
        mov     [rsi + FAULT_CR2], rax
        .set    level, 0
        .rept   LEVELS
        mov     rdi, [PLACES + level * 8]
        mov     rax, [rdi]
        mov     [rsi + ENTRIES + level * 8], rax
        .set    level, level + 1
        .endr
        add     rsi, CASE_SIZE
        dec     r15
        jnz     next
        jmp     batch

end:    DONE

        .balign 16
stubs_of_supervisor:
        STUBS   r8
        USER_STUBS r8
