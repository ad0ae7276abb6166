# Runs random bytes in real mode; see include/random.s.

.include "layout.s"
.include "random.s"
.code16

_start: cli
        xor     ax, ax
        mov     ds, ax
        mov     es, ax
        mov     ss, ax
        mov     sp, STACK
        cld
        xor     di, di
        mov     cx, 256
1:      mov     ax, offset again
        stosw
        xor     ax, ax
        stosw
        loop    1b
        mov     dword ptr ds:[SEED], 1
        jmp     begin
again:  cli
        xor     ax, ax
        mov     ds, ax
        mov     ss, ax
        mov     sp, STACK
begin:  RANDOM
        pushf
        push    FREE >> 4
        push    ax
        iret
