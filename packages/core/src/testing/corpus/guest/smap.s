# SMAP with STAC and CLAC: user pages are closed to supervisor data accesses unless RFLAGS.AC is
# set; SMEP: they are never executed.
#
# Source: AMD APM vol. 2, 5.6.5 and 5.6.6 (SMEP, SMAP); vol. 3, CLAC, STAC.

.include "long.s"

.set ALIAS, 0x8000000000        # the same memory once more, as user pages
.set CR4_SMEP, 1 << 20
.set CR4_SMAP, 1 << 21
.set FLAG_AC, 1 << 18

# A page fault of a fetch: the saved pointer is that of the target.
.macro EXECUTION what:req
        TRY     call rbp
        mov     eax, [EXC_VECTOR]
        CHECK   eax, 14, "\what: vector"
        mov     eax, [EXC_ERROR]
        CHECK   eax, 17, "\what: error code"
        mov     rax, [EXC_IP]
        sub     rax, rbp
        CHECK   rax, 0, "\what: instruction pointer"
.endm

_start: SETUP
        # The program's own mapping becomes the supervisor's.
        mov     rax, [TABLES]
        mov     [TABLES + 8], rax
        and     rax, -5
        mov     [TABLES], rax
        mov     rax, cr3
        mov     cr3, rax
        mov     rbx, ALIAS + FREE
        mov     rbp, ALIAS
        add     rbp, offset code
        NOFAULT "a user page without SMAP", mov al, [rbx]
        NOFAULT "a user page is executed without SMEP", call rbp

        mov     rax, cr4
        or      rax, CR4_SMAP + CR4_SMEP
        mov     cr4, rax
        FAULT   14, 1, "a read", mov al, [rbx]
        FAULT   14, 3, "a write", mov [rbx], al
        FAULT   14, 3, "a read and write", add byte ptr [rbx], 1
        mov     rax, cr2
        CHECK   rax, ALIAS + FREE, "CR2"
        EXECUTION "an execution"
        FAULT   14, 1, "a descriptor table in a user page", lgdt [rbx]

        NOFAULT "STAC", stac
        pushfq
        pop     rax
        and     eax, FLAG_AC
        CHECK   eax, FLAG_AC, "AC after STAC"
        NOFAULT "a read with AC", mov al, [rbx]
        NOFAULT "a write with AC", mov [rbx], al
        EXECUTION "an execution with AC"
        NOFAULT "CLAC", clac
        pushfq
        pop     rax
        and     eax, FLAG_AC
        CHECK   eax, 0, "AC after CLAC"
        FAULT   14, 1, "a read after CLAC", mov al, [rbx]

        # AC by POPF does the same; implicit accesses do not ask for it.
        push    FLAG_AC + 2
        popfq
        NOFAULT "a read with AC by POPF", mov al, [rbx]
        mov     rax, 0x000082020000ffff # an LDT at ALIAS + FREE
        mov     [GDT + OWN], rax
        mov     qword ptr [GDT + OWN + 8], ALIAS >> 32
        mov     eax, OWN
        lldt    ax
        mov     ecx, 4                  # its first descriptor
        FAULT   14, 1, "a descriptor in a user page", mov fs, ecx
        clac

        # At CPL 3 both are undefined opcodes.
        PREPARE after
        mov     rax, ALIAS
        add     rax, offset user
        push    USER_DATA
        push    USER_STACK
        push    2
        push    USER_CODE64
        push    rax
        iretq
after:  mov     dword ptr [RESUME], 0
        mov     eax, [EXC_VECTOR]
        CHECK   eax, 6, "STAC at CPL 3"
        DONE

user:   stac
        ud2
code:   ret
