# The state that the host sets, and the one that it reads: registers of every kind, both ways.
#
# Source: entry.ts for what is set.

.include "long.s"

_start: CHECK   rsp, STACK, "RSP"
        CHECK   rax, 0, "RAX"
        CHECK   r15, 0, "R15"
        pushfq
        pop     rax
        CHECK   rax, 2, "RFLAGS"
        mov     eax, cs
        CHECK   ax, CODE64, "CS"
        mov     eax, gs
        CHECK   ax, DATA, "GS"
        str     eax
        CHECK   ax, TASK, "TR"
        sldt    eax
        CHECK   ax, 0, "LDTR"
        sgdt    [FREE]
        mov     rax, [FREE + 2]
        CHECK   rax, GDT, "GDTR"
        mov     rax, cr3
        CHECK   rax, TABLES, "CR3"
        mov     rax, dr6
        CHECK   rax, 0xffff0ff0, "DR6"
        mov     rax, dr7
        CHECK   rax, 0x400, "DR7"
        mov     ecx, 0xc0000080
        rdmsr
        CHECK   eax, 0x500, "EFER"

        # For the host.
        mov     rbx, 0x1122334455667788
        mov     rsi, -2
        mov     r8, 0x8080808080808080
        mov     r13, 13
        mov     eax, 0x12340000
        mov     cr2, rax
        mov     eax, 9
        mov     cr8, rax
        lidt    [tables]
        mov     eax, 0x405
        mov     dr7, rax
        mov     ecx, 0xc0000101
        mov     eax, 0x76543210
        mov     edx, 0xffffffff
        wrmsr
        FINAL   "rbx", 0x1122334455667788
        FINAL   "rsi", -2
        FINAL   "r8", 0x8080808080808080
        FINAL   "r13", 13
        FINAL   "cr2", 0x12340000
        FINAL   "cr3", TABLES
        FINAL   "cr8", 9
        FINAL   "efer", 0x500
        FINAL   "dr7", 0x405
        FINAL   "idtr.base", 0x3456
        FINAL   "idtr.limit", 0x123
        FINAL   "gdtr.base", GDT
        FINAL   "gdtr.limit", 0xff
        FINAL   "gs.base", 0xffffffff76543210
        FINAL   "gs.selector", DATA
        FINAL   "cs.selector", CODE64
        FINAL   "cs.attributes", 0xa9b
        FINAL   "ss.attributes", 0xc93
        FINAL   "ss.limit", 0xffffffff
        FINAL   "tr.selector", TASK
        FINAL   "tr.base", TSS
        FINAL   "tr.limit", 0x67
        DONE

tables: .word   0x123
        .quad   0x3456
