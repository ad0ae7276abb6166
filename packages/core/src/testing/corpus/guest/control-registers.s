# Control registers: combinations that are refused, fixed bits, privilege, CR8, SMSW and LMSW.
#
# Source: AMD APM vol. 2, 3.1 (control registers), 14.6; vol. 3, MOV CRn, LMSW, SMSW, CLTS.

.include "long.s"

.macro REFUSED number:req, set:req, clear:req, what:req
        mov     rax, cr\number
        mov     rcx, \set
        or      rax, rcx
        mov     rcx, \clear
        not     rcx
        and     rax, rcx
        FAULT   13, 0, "\what", mov cr\number, rax
.endm

_start: SETUP
        REFUSED 0, 0, 1, "PG without PE"
        REFUSED 0, 0x20000000, 0x40000000, "NW without CD"
        REFUSED 0, 0x100000000, 0, "an upper bit of CR0"
        REFUSED 4, 0, 0x20, "PAE off in long mode"
        REFUSED 4, 0x80000000, 0, "a reserved bit of CR4"
        REFUSED 4, 0x100000000, 0, "an upper bit of CR4"
        REFUSED 3, 0x8000000000000, 0, "a reserved bit of CR3"
        mov     eax, 16
        FAULT   13, 0, "CR8 of 16", mov cr8, rax
        FAULT   6, 0, "CR1", .byte 0x0f, 0x20, 0xc8
        FAULT   6, 0, "CR5", .byte 0x0f, 0x20, 0xe8
        FAULT   6, 0, "CR9", .byte 0x44, 0x0f, 0x20, 0xc8

        mov     rax, cr0
        and     eax, ~0x10
        mov     cr0, rax
        mov     rax, cr0
        and     eax, 0x10
        CHECK   eax, 0x10, "ET is always set"
        mov     eax, 7
        mov     cr8, rax
        mov     rcx, cr8
        CHECK   rcx, 7, "CR8"
        xor     eax, eax
        mov     cr8, rax
        mov     rax, 0x8765432112345678
        mov     cr2, rax
        mov     rcx, cr2
        CHECK   rcx, 0x8765432112345678, "CR2 holds any value"

        # LMSW cannot clear PE, and changes MP, EM and TS; SMSW shows what CR0 has.
        mov     eax, 0xe
        lmsw    ax
        smsw    ecx
        and     ecx, 0xf
        CHECK   ecx, 0xf, "LMSW sets MP, EM, TS and keeps PE"
        xor     eax, eax
        lmsw    ax
        smsw    ecx
        and     ecx, 0xf
        CHECK   ecx, 1, "LMSW clears all but PE"

        USER_FAULT 13, 0, 2, "MOV to CR3 at CPL 3", mov cr3, rax
        USER_FAULT 13, 0, 2, "MOV from CR8 at CPL 3", mov rax, cr8
        USER_FAULT 13, 0, 2, "CLTS at CPL 3", clts
        USER_FAULT 13, 0, 2, "LMSW at CPL 3", lmsw ax
        USER_FAULT 13, 0, 2, "INVLPG at CPL 3", invlpg [rax]
        USER_FAULT 13, 0, 2, "WBINVD at CPL 3", wbinvd
        USER_RUN 2, "SMSW at CPL 3", smsw ecx
        and     ecx, 1
        CHECK   ecx, 1, "SMSW is open to all"

        # RDTSC at CPL 3 as CR4.TSD says.
        USER_RUN 2, "RDTSC at CPL 3", rdtsc
        mov     rax, cr4
        or      eax, 4
        mov     cr4, rax
        USER_FAULT 13, 0, 2, "RDTSC at CPL 3 with TSD", rdtsc
        NOFAULT "RDTSC at CPL 0 with TSD", rdtsc
        USER_FAULT 13, 0, 2, "RDPMC at CPL 3 without PCE", rdpmc
        DONE
