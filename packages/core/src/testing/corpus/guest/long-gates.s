# Long mode: stacks by IST and RSP0, trap and interrupt gates, call gates, IRET to every width.
#
# Source: AMD APM vol. 2, 8.9 (long-mode interrupts, IST), 4.8.4 (64-bit gates); vol. 3, IRET.

.include "long.s"

_start: SETUP
        # An interrupt gate clears IF, a trap gate does not; both clear TF.
        GATE    0x40, gate
        GATE    0x41, gate, 0x8f
        sti
        int     0x40
        CHECK   ebx, 0, "IF behind an interrupt gate"
        CHECK   edx, 0x200, "IF in its frame"
        int     0x41
        CHECK   ebx, 0x200, "IF behind a trap gate"
        cli

        # IST: the stack whatever the level, aligned, the old one in the frame.
        GATE    0x42, stack, 0x8e, 1
        mov     rdi, rsp
        int     0x42
        CHECK   rbx, IST_STACK-40, "RSP by IST"
        sub     rdi, rdx
        CHECK   rdi, 0, "RSP in the frame"

        # From CPL 3: RSP0, SS null; gates of DPL 0 are shut.
        GATE    0x43, stack, 0xee
        PREPARE out
        USER    user
user:   int     0x43
        ud2
out:    CHECK   rbx, KERNEL_STACK-40, "RSP by RSP0"
        CHECK   rdx, USER_STACK, "RSP in the frame from CPL 3"
        CHECK   ecx, 0, "SS behind a change of privilege: null"
        CHECK   esi, USER_DATA, "SS in the frame"
        USER_FAULT 13, 0x42*8+2, 2, "INT to a gate of DPL 0", int 0x42
        USER_FAULT 13, 0x50*8+2, 2, "INT to an empty gate", int 0x50

        # A call gate of 16 bytes; from CPL 3 to 0: SS null, RSP0.
        mov     word ptr [GDT + 0x80], offset called
        mov     word ptr [GDT + 0x82], CODE64
        mov     dword ptr [GDT + 0x84], 0x0000ec00
        mov     qword ptr [GDT + 0x88], 0
        PREPARE gate_out
        USER    caller
caller: call    fword ptr [far_pointer]
        ud2
called: mov     rbx, rsp
        mov     ecx, ss
        mov     rdx, [rsp + 16]
        mov     esi, cs
        rex.W retf
gate_out:
        CHECK   rbx, KERNEL_STACK-32, "four quadwords"
        CHECK   ecx, 0, "SS behind the gate: null"
        CHECK   rdx, USER_STACK, "RSP in the frame"
        CHECK   esi, CODE64, "CS behind the gate"
        mov     eax, [EXC_CS]
        CHECK   eax, USER_CODE64, "back at CPL 3"

        # IRET to compatibility mode at CPL 3, and an exception from there.
        PREPARE compat_out
        push    USER_DATA
        push    USER_STACK
        push    2
        push    USER_CODE32
        push    offset compat
        iretq
.code32
compat: mov     eax, 1
        .byte   0x48                    # DEC EAX
        inc     eax
        ud2
.code64
compat_out:
        CHECK   eax, 1, "compatibility mode at CPL 3"
        mov     eax, [EXC_CS]
        CHECK   eax, USER_CODE32, "CS in the frame"
        mov     rax, [EXC_HANDLER_SP]
        CHECK   rax, KERNEL_STACK-40, "five quadwords from compatibility mode"

        # IRET to the same level pops SS:RSP as well.
        mov     rdi, rsp
        push    DATA
        push    rdi
        push    2
        push    CODE64
        push    offset same
        iretq
same:   sub     rdi, rsp
        CHECK   rdi, 0, "RSP behind IRET to the same level"
        push    DATA
        push    rsp
        push    2
        push    USER_DATA
        push    offset same
        FAULT   13, USER_DATA-3, "IRET to data", iretq
        DONE

gate:   pushfq
        pop     rbx
        and     ebx, 0x200
        mov     edx, [rsp + 16]
        and     edx, 0x200
        iretq
stack:  mov     rbx, rsp
        mov     rdx, [rsp + 24]
        mov     ecx, ss
        mov     esi, [rsp + 32]
        iretq
far_pointer:
        .long   0                       # not used: the gate has the offset
        .word   0x83
