# Probe: a second CPU by INIT and SIPI.
.include "long.s"
_start: SETUP
        mov     dword ptr [FREE], 0
        cld
        mov     esi, offset other
        mov     edi, 0x70000
        mov     ecx, offset other_end - other
        rep movsb
        mov     ebx, 0xfee00000
        mov     dword ptr [rbx + 0xf0], 0x1ff
        mov     dword ptr [rbx + 0x310], 1 << 24
        mov     dword ptr [rbx + 0x300], 0x4500
        mov     dword ptr [rbx + 0x300], 0x4670
1:      pause
        cmp     dword ptr [FREE], 0
        je      1b
        mov     eax, [FREE]
        CHECK   eax, 0x1234, "what the other CPU wrote"
        DONE
.code16
other:  mov     ax, FREE >> 4
        mov     ds, ax
        mov     dword ptr ds:[0], 0x1234
1:      hlt
        jmp     1b
other_end:
