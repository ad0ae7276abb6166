# Probe: SYSCALL from CPL 3. What CS it leaves is a matter of the programs that use it.
.include "long.s"
_start: SETUP
        mov     ecx, 0xc0000080         # EFER.SCE
        rdmsr
        or      eax, 1
        wrmsr
        mov     ecx, 0xc0000081         # STAR
        xor     eax, eax
        mov     edx, 0x00180008
        wrmsr
        mov     ecx, 0xc0000082         # LSTAR
        mov     eax, offset entered
        xor     edx, edx
        wrmsr
        mov     ecx, 0xc0000084         # SFMASK
        xor     eax, eax
        wrmsr
        PREPARE out
        USER    user
user:   syscall
        ud2
entered:
        mov     esi, 1
        ud2
out:    CHECK   esi, 1, "at LSTAR"
        DONE
