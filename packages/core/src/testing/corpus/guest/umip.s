# CR4.UMIP: SGDT, SIDT, SLDT, STR and SMSW at CPL 3.
#
# Source: AMD APM vol. 2, 3.1.3 (UMIP).

.include "long.s"

_start: SETUP
        mov     ebx, FREE
        USER_RUN 2, "SGDT without UMIP", sgdt [rbx]
        mov     rax, [FREE + 2]
        CHECK   rax, GDT, "what SGDT stored"
        mov     rax, cr4
        or      eax, 0x800
        mov     cr4, rax
        USER_FAULT 13, 0, 2, "SGDT", sgdt [rbx]
        USER_FAULT 13, 0, 2, "SIDT", sidt [rbx]
        USER_FAULT 13, 0, 2, "SLDT", sldt ax
        USER_FAULT 13, 0, 2, "STR", str ax
        USER_FAULT 13, 0, 2, "SMSW", smsw ax
        NOFAULT "SGDT at CPL 0", sgdt [rbx]
        str     eax
        CHECK   eax, TASK, "STR at CPL 0"
        DONE
