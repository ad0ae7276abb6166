# Accesses through legacy page tables, 32-bit and PAE, as a table of cases says.
#
# Source: AMD APM vol. 2, 5.2 (legacy paging), 5.6 (protection), 8.4.2 (page-fault error code).

.include "protected.s"
.include "paging.s"

_start: SETUP
        mov     eax, OWN
        lldt    ax

batch:  mov     al, 0
        out     PORT, al
        mov     esi, CASES
        mov     ebp, [COUNT]
        test    ebp, ebp
        jz      end

next:   .set    level, 0
        .rept   LEVELS
        mov     eax, [esi + ENTRIES + level * 8]
        mov     edi, [PLACES + level * 8]
        mov     [edi], eax
        cmp     dword ptr [WIDE], 0
        je      1f
        mov     eax, [esi + ENTRIES + level * 8 + 4]
        mov     [edi + 4], eax
1:      .set    level, level + 1
        .endr
        mov     ecx, EFER
        mov     eax, [esi + SET_EFER]
        xor     edx, edx
        wrmsr
        mov     eax, [esi + SET_CR4]
        mov     cr4, eax
        mov     eax, [ROOT]
        mov     cr3, eax
        mov     eax, [esi + SET_CR0]
        mov     cr0, eax
        xor     eax, eax
        mov     cr2, eax
        PREPARE after
        mov     edi, [esi + ADDRESS]
        mov     ecx, [esi + FLAGS]
        mov     ebx, [esi + KIND]
        shl     ebx, 4
        cmp     dword ptr [esi + FROM_USER], 0
        jne     2f
        add     ebx, offset stubs_of_supervisor
        push    ecx
        popfd
        jmp     ebx
2:      add     ebx, offset user_stubs
        mov     eax, USER_DATA
        mov     ds, eax
        push    eax
        push    USER_STACK
        push    ecx
        push    USER_CODE32
        push    ebx
        iretd

after:  push    2
        popfd
        mov     eax, [EXC_VECTOR]
        mov     edx, -1
        cmp     eax, DONE_VECTOR
        cmove   eax, edx
        mov     [esi + VECTOR], eax
        mov     eax, [EXC_ERROR]
        mov     [esi + ERROR], eax
        mov     eax, cr2
        mov     [esi + FAULT_CR2], eax
        mov     dword ptr [esi + FAULT_CR2 + 4], 0
        .set    level, 0
        .rept   LEVELS
        mov     edi, [PLACES + level * 8]
        mov     eax, [edi]
        mov     [esi + ENTRIES + level * 8], eax
        mov     dword ptr [esi + ENTRIES + level * 8 + 4], 0
        cmp     dword ptr [WIDE], 0
        je      1f
        mov     eax, [edi + 4]
        mov     [esi + ENTRIES + level * 8 + 4], eax
1:      .set    level, level + 1
        .endr
        add     esi, CASE_SIZE
        dec     ebp
        jnz     next
        jmp     batch

end:    DONE

        .balign 16
stubs_of_supervisor:
        STUBS   edi
        USER_STUBS edi
