# Debug exceptions: single step, breakpoints on code, data and ports, ICEBP, general detect; DR6.
#
# Source: AMD APM vol. 2, 13.1 (debug registers, breakpoints, single stepping), 8.2.2 (#DB).

.include "long.s"

.macro DEBUG number:req, value:req
        mov     eax, offset \value
        mov     dr\number, rax
.endm

.macro CAUSE value:req, what:req
        mov     rax, dr6
        CHECK   rax, 0xffff0ff0+\value, "\what"
        mov     eax, 0xffff0ff0
        mov     dr6, rax
.endm

.macro CAUGHT at:req, cause:req, what:req
        mov     eax, [EXC_VECTOR]
        CHECK   eax, 1, "\what: vector"
        mov     eax, [EXC_IP]
        CHECK   eax, \at, "\what: instruction pointer"
        CAUSE   \cause, "\what: DR6"
.endm

_start: SETUP
        # Single step: behind the instruction after POPF; the handler runs with TF clear.
        PREPARE stepped
        push    0x102
        popfq
        nop
1:      nop
stepped:
        CAUGHT  1b, 0x4000, "single step"
        mov     eax, [EXC_FLAGS]
        and     eax, 0x100
        CHECK   eax, 0x100, "TF in the frame"
        pushfq
        pop     rax
        and     eax, 0x100
        CHECK   eax, 0, "TF in the handler"

        # A taken jump: the target.
        PREPARE jumped
        push    0x102
        popfq
        jmp     2f
        nop
2:      nop
jumped: CAUGHT  2b, 0x4000, "single step of a jump"

        # REP: after each iteration, RIP on it until the last.
        GATE    1, count
        mov     edi, FREE
        mov     ecx, 3
        xor     r8d, r8d
        cld
        push    0x102
        popfq
3:      rep stosb
        push    2
        popfq
        CHECK   r8d, 5, "three iterations, PUSH and POPF"
        CHECK   r9, 3b, "RIP at the first"
        GATE    1, stubs+16
        mov     eax, 0xffff0ff0
        mov     dr6, rax

        # Execution: a fault before the instruction; the handler sets RF to let it pass.
        DEBUG   0, here
        DEBUG   7, 0x402
        mov     ebx, 1
        PREPARE broke
here:   inc     ebx
broke:  CAUGHT  here, 1, "breakpoint on code"
        CHECK   ebx, 1, "it was not executed"
        mov     eax, [EXC_FLAGS]
        and     eax, 0x10000
        CHECK   eax, 0, "RF in the frame of a code breakpoint"
        GATE    1, resume
        mov     ebx, 1
        mov     r8d, 0
        mov     dword ptr [FREE], 0
4:      mov     ecx, 1
        call    again
        CHECK   ebx, 2, "executed after IRET with RF"
        mov     eax, [FREE]
        CHECK   eax, 1, "and trapped once"
        GATE    1, stubs+16
        mov     eax, 0xffff0ff0
        mov     dr6, rax

        # Data: a trap behind the instruction, for each byte of the field, by reads where asked.
        DEBUG   1, FREE+4
        DEBUG   7, 0x00d00408                   # DR1: write, 4 bytes
        PREPARE wrote
        mov     byte ptr [FREE + 7], 1
5:      nop
wrote:  CAUGHT  5b, 2, "a write to the last byte"
        NOFAULT "a read", mov al, [FREE + 4]
        NOFAULT "a write beside it", mov byte ptr [FREE + 8], 1
        PREPARE crossed
        mov     dword ptr [FREE + 1], 0
6:      nop
crossed:
        CAUGHT  6b, 2, "a write that overlaps it"
        DEBUG   7, 0x00f00408                   # reads and writes
        PREPARE read
        mov     al, [FREE + 5]
7:      nop
read:   CAUGHT  7b, 2, "a read"
        PREPARE pushed
        DEBUG   2, FREE+0x100
        DEBUG   7, 0x09000420                   # DR2: write, 8 bytes
        mov     esp, FREE + 0x108
        push    rax
8:      nop
pushed: CAUGHT  8b, 4, "PUSH"

        # Ports, with CR4.DE.
        mov     rax, cr4
        or      eax, 8
        mov     cr4, rax
        DEBUG   3, PORT
        DEBUG   7, 0x20000480                   # DR3: I/O, 1 byte
        EXIT    "io out 0xe0 31"
        PREPARE port
        mov     al, 0x31
        out     PORT, al
9:      nop
port:   CAUGHT  9b, 8, "OUT"
        FAULT   6, 0, "DR4 with DE", mov rax, dr4
        mov     rax, cr4
        and     eax, ~8
        mov     cr4, rax
        xor     eax, eax
        mov     dr7, rax
        mov     rax, dr5
        CHECK   rax, 0x400, "DR5 without DE is DR7"

        # ICEBP: a trap without a cause.
        PREPARE ice
        .byte   0xf1
10:     nop
ice:    CAUGHT  10b, 0, "ICEBP"

        # General detect: before the access; GD is cleared for the handler.
        DEBUG   7, 0x2400
        PREPARE detected
at:     mov     rcx, dr0
detected:
        mov     rax, dr7
        CHECK   rax, 0x400, "GD in the handler"
        CAUGHT  at, 0x2000, "general detect"

        # What does not fit.
        mov     rax, 0x100000000
        FAULT   13, 0, "an upper bit of DR7", mov dr7, rax
        mov     rax, 0x100000000
        FAULT   13, 0, "an upper bit of DR6", mov dr6, rax
        USER_FAULT 13, 0, 2, "MOV from DR0 at CPL 3", mov rax, dr0
        xor     eax, eax
        mov     dr6, rax
        mov     rax, dr6
        CHECK   rax, 0xffff0ff0, "fixed bits of DR6"
        mov     dr7, rax
        xor     eax, eax
        mov     dr7, rax
        mov     rax, dr7
        CHECK   rax, 0x400, "fixed bits of DR7"

        # Code breakpoints that are not enabled, and a local one that is.
        DEBUG   0, off
        DEBUG   7, 0x400
        PREPARE none
off:    mov     ecx, 99
none:   mov     dword ptr [RESUME], 0
        mov     eax, [EXC_VECTOR]
        CHECK   eax, 0xffffffff, "a breakpoint that is not enabled"
        DEBUG   7, 0x401
        PREPARE local
        jmp     off
local:  CAUGHT  off, 1, "enabled locally"
        xor     eax, eax
        mov     dr7, rax
        DONE

again:  mov     eax, offset here2
        mov     dr0, rax
here2:  inc     ebx
        ret

count:  inc     r8d
        cmp     r8d, 1
        cmove   r9, [rsp]
        iretq
resume: inc     dword ptr [FREE]
        or      dword ptr [rsp + 16], 0x10000
        iretq
