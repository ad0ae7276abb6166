# SYSCALL and SYSRET in long mode.
#
# Source: AMD APM vol. 2, 6.1.1 (STAR, LSTAR, SFMASK); vol. 3, SYSCALL, SYSRET.

.include "long.s"

.macro WRITE index:req, low:req, high=0
        mov     ecx, \index
        mov     eax, offset \low
        mov     edx, \high
        wrmsr
.endm

_start: SETUP
        FAULT   6, 0, "SYSCALL without EFER.SCE", syscall
        FAULT   6, 0, "SYSRET without EFER.SCE", sysretq
        WRITE   0xc0000081, 0, 0x00180008
        WRITE   0xc0000082, entry
        WRITE   0xc0000084, 0x4700              # TF, IF, DF, NT
        mov     ecx, 0xc0000080
        rdmsr
        or      eax, 1
        wrmsr

        PREPARE out
        USER    user, 0x202
user:   std
        stc
        mov     rdi, 0x7766554433221100
        syscall
after:  mov     r12d, cs
        mov     r13d, ss
        pushfq
        pop     r14
        mov     r15, rsp
        ud2
entry:  mov     r8, rcx
        mov     r9, r11
        mov     r10d, cs
        mov     ebp, ss
        mov     rsi, rsp
        mov     rsp, KERNEL_STACK
        pushfq
        pop     rbx
        mov     rsp, rsi
        sysretq
out:    CHECK   r8, after, "RCX: the next instruction"
        and     r9d, 0x701
        CHECK   r9d, 0x601, "R11: RFLAGS (DF, IF, CF)"
        CHECK   r10d, CODE64, "CS inside"
        CHECK   ebp, DATA, "SS inside"
        CHECK   rsi, USER_STACK, "RSP inside: unchanged"
        and     ebx, 0x701
        CHECK   ebx, 1, "RFLAGS inside: masked by SFMASK"
        CHECK   r12d, USER_CODE64, "CS after SYSRET"
        CHECK   r13d, USER_DATA, "SS after SYSRET"
        and     r14d, 0x701
        CHECK   r14d, 0x601, "RFLAGS after SYSRET: from R11"
        CHECK   r15, USER_STACK, "RSP after SYSRET"
        CHECK   rdi, 0x7766554433221100, "RDI went through"

        # SYSRET without REX.W: to compatibility mode, at ECX.
        PREPARE narrow
        mov     ecx, offset small
        mov     r11d, 0x202
        sysretd
.code32
small:  mov     esi, cs
        mov     eax, 1
        .byte   0x48                    # DEC EAX
        inc     eax
        ud2
.code64
narrow: CHECK   esi, USER_CODE32, "CS of compatibility mode"
        CHECK   eax, 1, "48 is DEC there"

        # Privilege, and what LSTAR may hold.
        USER_FAULT 13, 0, 2, "SYSRET at CPL 3", sysretq
        mov     ecx, 0xc0000082
        mov     eax, 0
        mov     edx, 0x8000
        FAULT   13, 0, "a non-canonical LSTAR", wrmsr
        DONE
