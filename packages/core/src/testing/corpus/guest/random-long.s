# Runs random bytes in long mode on every CPU; see include/random.s. Handlers have a stack by IST.

.include "smp.s"
.include "random.s"

.set TABLE, 0x16000
.set IDT, 0x18000
.set OTHER_TSS, 0x900
.set OTHER_TASK, 0x80

_start: # User mode has the bytes at FREE and its stack, nothing else of the first 2 MiB.
        mov     eax, 3
        mov     edi, TABLE
        cld
1:      stosq
        add     eax, 0x1000
        cmp     eax, 0x200000
        jb      1b
        mov     edi, TABLE + (FREE >> 9)
        mov     ecx, 16
2:      or      qword ptr [rdi], 4
        add     edi, 8
        loop    2b
        or      qword ptr [TABLE + ((USER_STACK - 1) >> 12) * 8], 4
        mov     qword ptr [TABLES + 0x2000], TABLE + 7
        mov     rax, cr4
        or      eax, 0x600
        mov     cr4, rax
        mov     rax, cr3
        mov     cr3, rax

        mov     edi, IDT
        mov     ecx, 256
3:      mov     eax, offset again
        and     eax, 0xffff
        or      eax, CODE64 << 16
        stosd
        mov     eax, 0xee01
        stosd
        xor     eax, eax
        stosq
        loop    3b
        mov     qword ptr [TSS + 4], KERNEL_STACK
        mov     qword ptr [TSS + 36], IST_STACK
        mov     qword ptr [OTHER_TSS + 4], KERNEL_STACK - 0x800
        mov     qword ptr [OTHER_TSS + 36], IST_STACK - 0x800
        mov     dword ptr [GDT + OTHER_TASK], (OTHER_TSS << 16) + 0x67
        mov     dword ptr [GDT + OTHER_TASK + 4], 0x8900
        lidt    [random_idt]
        mov     dword ptr [SEED], 1
        START_CPU other
        call    timer
        mov     eax, IST_STACK
        mov     rsp, rax
        jmp     begin
other:  mov     eax, OTHER_TASK
        ltr     ax
        lidt    [random_idt]
        call    timer
        mov     eax, IST_STACK - 0x800
        mov     rsp, rax
        jmp     begin

timer:  mov     ebx, APIC
        mov     dword ptr [rbx + 0xf0], 0x1ff
        mov     dword ptr [rbx + 0x3e0], 0xb
        mov     dword ptr [rbx + 0x320], 0x20040
        mov     dword ptr [rbx + 0x380], 3000
        ret

again:  mov     eax, APIC + 0xb0
        mov     dword ptr [rax], 0
begin:  cld
        and     rsp, -0x800             # the top of the IST stack, whatever was pushed
        add     rsp, 0x800 - 0x80
        RANDOM
        test    eax, 0x70000            # one in eight at CPL 0
        jz      1f
        test    eax, 0x80000            # half of the others in compatibility mode
        jz      2f
        push    USER_DATA
        push    USER_STACK
        push    0x202
        push    USER_CODE64
        jmp     3f
1:      push    DATA
        push    USER_STACK
        push    0x202
        push    CODE64
        jmp     3f
2:      push    USER_DATA
        push    USER_STACK
        push    0x202
        push    USER_CODE32
3:      and     eax, LENGTH_MASK
        add     eax, FREE
        push    rax
        mov     eax, USER_DATA
        mov     ds, eax
        mov     es, eax
        iretq

random_idt:
        .word   0xfff
        .quad   IDT
