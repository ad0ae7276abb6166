# Far calls through gates to an inner level, with parameters, and the far return; conforming code.
#
# Source: AMD APM vol. 2, 4.11 (control-transfer privilege checks); vol. 3, CALL (far), RET (far).

.include "protected.s"

_start: SETUP
        # A gate for CPL 3 with two parameters; one of DPL 0; conforming code.
        mov     word ptr [GDT + OWN], offset entry
        mov     dword ptr [GDT + OWN + 2], CODE32
        mov     word ptr [GDT + OWN + 4], 0xec02
        mov     word ptr [GDT + OWN + 8], offset entry
        mov     dword ptr [GDT + OWN + 10], CODE32
        mov     word ptr [GDT + OWN + 12], 0x8c00
        mov     dword ptr [GDT + OWN + 16], 0x0000ffff
        mov     dword ptr [GDT + OWN + 20], 0x00cf9e00
        mov     word ptr [GDT + OWN + 24], offset entry     # 16-bit gate, DPL 3
        mov     dword ptr [GDT + OWN + 26], CODE32
        mov     word ptr [GDT + OWN + 28], 0xe400

        PREPARE out
        USER    user
user:   push    0x1111
        push    0x2222
        call    OWN + 3, 0
back:   mov     edx, esp
        ud2
entry:  mov     esi, esp
        mov     ebx, cs
        mov     edi, [esp + 8]          # the second parameter
        mov     ebp, [esp + 12]
        mov     ecx, [esp + 16]         # ESP of the caller
        mov     eax, [esp + 4]          # its CS
        .byte   0xca, 8, 0              # far return, releasing both
out:    CHECK   ebx, CODE32, "CS behind the gate: RPL 0"
        CHECK   esi, KERNEL_STACK-24, "the inner stack: six words"
        CHECK   edi, 0x2222, "the last parameter"
        CHECK   ebp, 0x1111, "the first parameter"
        CHECK   ecx, USER_STACK-8, "ESP in the frame"
        CHECK   eax, USER_CODE32, "CS in the frame"
        CHECK   edx, USER_STACK, "the outer stack, parameters released"
        mov     eax, [EXC_CS]
        CHECK   eax, USER_CODE32, "back at CPL 3"

        USER_FAULT 13, OWN+8, 2, "a gate of DPL 0 from CPL 3", call OWN + 8, 0
        USER_FAULT 13, CODE32, 2, "a far call to inner code", call CODE32, 0
        USER_FAULT 13, CODE32, 2, "a far jump to inner code", jmp CODE32, 0
        FAULT   13, USER_CODE32-3, "a far call to outer code", call USER_CODE32, 0

        # Conforming code runs at the caller's level.
        PREPARE conform
        USER    over
over:   jmp     OWN + 16, offset inside
inside: mov     ebx, cs
        ud2
conform:
        CHECK   ebx, OWN+16+3, "CS of conforming code at CPL 3"

        # A 16-bit gate pushes words.
        PREPARE narrow
        GATE    20, small
        mov     word ptr [GDT + OWN + 24], offset small
        mov     ebx, esp
        call    OWN + 24, 0
small:  sub     ebx, esp
        mov     ecx, [esp]
        ud2
narrow: CHECK   ebx, 4, "a 16-bit gate pushes two words"
        shr     ecx, 16
        CHECK   ecx, CODE32, "CS, as a word"

        # Returns may not go inwards, and null what the outer level may not have.
        push    USER_DATA
        push    USER_STACK
        push    USER_CODE32
        push    offset outer
        PREPARE nulled
        mov     eax, DATA
        mov     fs, eax
        mov     eax, USER_DATA
        mov     gs, eax
        retf
outer:  mov     ecx, fs
        mov     edx, gs
        ud2
nulled: CHECK   cx, 0, "FS of DPL 0 is null at CPL 3"
        CHECK   dx, USER_DATA, "GS of DPL 3 stays"
        PREPARE inwards
        USER    in_user
in_user:
        push    CODE32
        push    offset _start
at:     retf
inwards:
        mov     eax, [EXC_VECTOR]
        CHECK   eax, 13, "a far return to an inner level: vector"
        mov     eax, [EXC_ERROR]
        CHECK   eax, CODE32, "the same: error code"
        mov     eax, [EXC_IP]
        CHECK   eax, at, "the same: instruction pointer"
        DONE
