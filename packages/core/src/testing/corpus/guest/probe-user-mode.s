# Probe: to CPL 3 by IRETQ and back by an exception.
.include "long.s"
_start: SETUP
        USER_RUN 2, "user mode", mov ecx, 5
        CHECK   ecx, 5, "ECX of user mode"
        mov     eax, [EXC_CS]
        CHECK   eax, USER_CODE64, "CS of user mode"
        DONE
