# From real to protected, long and compatibility mode, and all the way back.
#
# Source: AMD APM vol. 2, 14.4 and 14.6 (activating and leaving long mode), 4.6 (segments), 1.3.

.include "layout.s"

.macro CR0 set=0, clear=0
        mov     eax, cr0
        or      eax, \set
        and     eax, ~\clear
        mov     cr0, eax
.endm

.code16
_start: cli
        smsw    ax
        and     ax, 1
        CHECK   ax, 0, "PE in real mode"
        lgdt    ds:[gdt_pointer]

        # Between CR0.PE and the far jump the code is still 16-bit with the old CS.
        CR0     1
        mov     cx, cs
        CHECK   cx, 0, "CS right after CR0.PE"
        .byte   0xea
        .word   protected, CODE32
.code32
protected:
        mov     eax, DATA
        mov     ds, eax
        mov     es, eax
        mov     ss, eax
        mov     fs, eax
        mov     esp, STACK
        mov     ecx, cs
        CHECK   ecx, CODE32, "CS in protected mode"
        mov     ebx, 0x123456
        CHECK   ebx, 0x123456, "a 32-bit immediate"

        # Long mode: tables, PAE, LME, then paging; LMA follows.
        mov     edi, TABLES
        mov     ecx, 0x1800
        xor     eax, eax
        cld
        rep stosd
        mov     dword ptr [TABLES], TABLES + 0x1007
        mov     dword ptr [TABLES + 0x1000], TABLES + 0x2007
        mov     dword ptr [TABLES + 0x2000], 0x87
        mov     eax, cr4
        or      eax, 0x20
        mov     cr4, eax
        mov     eax, TABLES
        mov     cr3, eax
        mov     ecx, 0xc0000080
        rdmsr
        or      eax, 0x100
        wrmsr
        rdmsr
        CHECK   eax, 0x100, "EFER before paging: LME alone"
        CR0     0x80000000
        rdmsr
        CHECK   eax, 0x500, "EFER with paging: LMA"
        # Still 32-bit code: compatibility mode.
        mov     eax, 1
        .byte   0x48                            # DEC EAX here, REX.W in 64-bit mode
        inc     eax
        CHECK   eax, 1, "48 ff c0 in compatibility mode"
        .byte   0xea
        .long   long
        .word   CODE64
.code64
long:   mov     rax, 0x123456789abcdef0
        CHECK   rax, 0x123456789abcdef0, "a 64-bit register"
        mov     r15, rax
        lea     rcx, [rip + 0]
here:   CHECK   rcx, here, "RIP-relative"
        mov     rax, cs
        CHECK   rax, CODE64, "CS in 64-bit mode"

        # Into compatibility mode: the upper halves stay, unseen, and come back.
        push    CODE32
        push    offset compatible
        retfq
.code32
compatible:
        mov     ecx, cs
        CHECK   ecx, CODE32, "CS in compatibility mode"
        mov     eax, 1
        .byte   0x48
        inc     eax
        CHECK   eax, 1, "48 ff c0 after the far return"
        jmp     CODE64, offset again
.code64
again:  CHECK   r15, 0x123456789abcdef0, "R15 after compatibility mode"

        # Out: compatibility mode, paging off, LMA follows.
        push    CODE32
        push    offset leaving
        retfq
.code32
leaving:
        CR0     0, 0x80000000
        mov     ecx, 0xc0000080
        rdmsr
        CHECK   eax, 0x100, "EFER after paging: LME alone"
        and     eax, ~0x100
        wrmsr
        jmp     CODE16, offset narrow
.code16
narrow: mov     ax, DATA16
        mov     ds, ax
        mov     ss, ax
        mov     es, ax
        CR0     0, 1
        .byte   0xea
        .word   real, 0
real:   xor     ax, ax
        mov     ds, ax
        mov     ss, ax
        mov     sp, STACK
        smsw    ax
        and     ax, 1
        CHECK   ax, 0, "PE in real mode again"
        # FS kept base 0 and the limit of 4 GiB: "unreal" until it is loaded.
        mov     ebx, 0x100000
        mov     dword ptr fs:[ebx], 0x55aa55aa
        mov     eax, fs:[ebx]
        CHECK   eax, 0x55aa55aa, "FS keeps its limit"
        mov     ax, 0xffff
        mov     es, ax
        mov     eax, es:[0x10]
        CHECK   eax, 0x55aa55aa, "ffff:0010 is 1 MiB"
        FINAL   "cr0", 0x10
        FINAL   "efer", 0
        FINAL   "cs.base", 0
        FINAL   "es.base", 0xffff0
        FINAL   "fs.limit", 0xffffffff
        DONE

gdt_pointer:
        .word   0xff
        .long   GDT
