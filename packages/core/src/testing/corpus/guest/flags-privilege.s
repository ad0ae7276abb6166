# What POPF, IRET and PUSHF may change and show at each level: IOPL, IF, VM, RF, and what is fixed.
#
# Source: AMD APM vol. 2, 3.1.6 (RFLAGS); vol. 3, POPF, PUSHF, IRET, CLI, STI.

.include "long.s"

.macro POP_FLAGS value:req
        push    \value
        popfq
        pushfq
        pop     rbx
.endm

_start: SETUP
        POP_FLAGS 0x0
        CHECK   rbx, 2, "bit 1 is always set"
        POP_FLAGS 0x8d5
        CHECK   rbx, 0x8d7, "OF SF ZF AF PF CF"
        POP_FLAGS 0x1802a
        CHECK   rbx, 2, "bits 3, 5, 15 and RF read as 0"
        POP_FLAGS 0x3000
        CHECK   rbx, 0x3002, "IOPL at CPL 0"
        POP_FLAGS 0x244000
        CHECK   rbx, 0x244002, "NT, AC and ID"
        POP_FLAGS 0x20000
        CHECK   rbx, 2, "VM is not changed"

        # CPL 3 with IOPL 0: neither IOPL nor IF changes, and no fault.
        USER_RUN 2, "POPF at CPL 3", POP_FLAGS 0x3ad7
        CHECK   rbx, 0x8d7, "POPF at CPL 3, IOPL 0"
        USER_RUN 0x3002, "POPF at CPL 3, IOPL 3", POP_FLAGS 0x202
        CHECK   rbx, 0x3202, "IF changes, IOPL does not"
        push    2
        popfq

        # A word leaves the upper bits.
        push    0x240002
        popfq
        pushw   0x0001
        popfw
        pushfq
        pop     rbx
        CHECK   rbx, 0x240003, "POPF of a word"
        push    2
        popfq

        # IRET at CPL 0 sets everything; RF is seen by nobody's PUSHF.
        mov     rdi, rsp
        push    DATA
        push    rdi
        push    0x212cd7
        push    CODE64
        push    offset here
        iretq
here:   pushfq
        pop     rbx
        CHECK   rbx, 0x202cd7, "RFLAGS behind IRET"
        push    2
        popfq

        # SAHF and LAHF.
        mov     ah, 0xff
        sahf
        pushfq
        pop     rbx
        CHECK   rbx, 0xd7, "SAHF"
        lahf
        CHECK   ah, 0xd7, "LAHF"
        DONE
