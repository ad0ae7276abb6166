# Task switches in hardware: by JMP, CALL and IRET, by task gate; what is saved and loaded, NT, the
# link, busy bits, CR0.TS, and what an invalid task raises.
#
# Source: AMD APM vol. 2, 12.3 (task switching), 8.2.10 (#TS), table 12-1 (NT, links, busy bits).

.include "protected.s"
.include "tasks.s"

_start: SETUP
        TASK_DESCRIPTOR OWN, OTHER
        TASK_STATE OTHER, by_jmp, 0x7000
        mov     ebx, 0x44444444
        mov     esi, 0x55555555
        std
        # JMP: no link, no NT; the old task is available, the new one busy.
        jmp     OWN, 0
came_back:
        cld
        CHECK   ebx, 0x44444444, "EBX of the first task"
        mov     eax, [TSS + 80]
        CHECK   eax, DATA, "SS saved"
        mov     eax, [TSS + 52]
        CHECK   eax, 0x44444444, "EBX saved"
        mov     eax, [TSS + 64]
        CHECK   eax, 0x55555555, "ESI saved"
        mov     eax, [TSS + 32]
        CHECK   eax, came_back, "EIP saved: behind the jump"
        mov     eax, [TSS + 36]
        and     eax, 0x4400
        CHECK   eax, 0x400, "EFLAGS saved: DF, no NT"
        str     eax
        CHECK   ax, TASK, "TR after the way back"
        mov     al, [GDT + TASK + 5]
        CHECK   al, 0x8b, "the first task is busy"
        mov     al, [GDT + OWN + 5]
        CHECK   al, 0x89, "the second is available"

        # CALL: a link, NT in the new task, both busy; IRET goes back.
        TASK_STATE OTHER, by_call, 0x7000
        clts
        call    OWN, 0
        mov     al, [GDT + OWN + 5]
        CHECK   al, 0x89, "IRET made the second available"
        mov     al, [GDT + TASK + 5]
        CHECK   al, 0x8b, "the first stayed busy"
        pushfd
        pop     eax
        and     eax, 0x4000
        CHECK   eax, 0, "NT of the first task"
        mov     eax, [OTHER + 36]
        and     eax, 0x4000
        CHECK   eax, 0, "NT is clear in what IRET saved"
        mov     eax, [OTHER + 32]
        CHECK   eax, after_iret, "IRET saved its successor"
        mov     eax, cr0
        and     eax, 8
        CHECK   eax, 8, "TS"
        clts
        # A second CALL goes on behind that IRET.
        call    OWN, 0
        CHECK   edi, 0x77777777, "the second task went on behind IRET (EDI shared by memory)"

        # An interrupt by a task gate; an exception with an error code on the new stack.
        TASK_STATE OTHER, by_gate, 0x7000
        mov     word ptr [idt + 20 * 8], 0
        mov     word ptr [idt + 20 * 8 + 2], OWN
        mov     word ptr [idt + 20 * 8 + 4], 0x8500
        int     20
        mov     eax, [FREE]
        CHECK   eax, 20, "by a task gate"
        # What is refused, with the first task still running.
        FAULT   13, TASK, "a jump to a busy task", jmp TASK, 0
        TASK_DESCRIPTOR OWN, OTHER, 0x09
        FAULT   11, OWN, "a task that is not present", jmp OWN, 0
        TASK_DESCRIPTOR OWN, OTHER, 0x89, 0x66
        FAULT   10, OWN, "a TSS of 0x67 bytes", jmp OWN, 0
        push    0x4002
        popfd
        mov     word ptr [TSS], DATA
        FAULT   10, DATA, "IRET with NT to a link that is no task", iretd
        push    2
        popfd
        mov     eax, DATA
        FAULT   13, DATA, "LTR of data", ltr ax
        mov     eax, TASK
        FAULT   13, TASK, "LTR of a busy task", ltr ax
        DONE

by_jmp: CHECK   eax, 0x11111111, "EAX of the second task"
        CHECK   ecx, 0x22222222, "ECX"
        CHECK   ebp, 0x33333333, "EBP"
        CHECK   esp, 0x7000, "ESP"
        str     eax
        CHECK   ax, OWN, "TR"
        mov     eax, gs
        CHECK   ax, 0, "GS"
        pushfd
        pop     eax
        CHECK   eax, 2, "EFLAGS"
        mov     eax, cr0
        and     eax, 8
        CHECK   eax, 8, "TS after JMP"
        mov     al, [GDT + TASK + 5]
        CHECK   al, 0x89, "the first task became available"
        mov     al, [GDT + OWN + 5]
        CHECK   al, 0x8b, "the second became busy"
        mov     eax, [OTHER]
        and     eax, 0xffff
        CHECK   eax, 0, "no link after JMP"
        jmp     TASK, 0

by_call:
        pushfd
        pop     eax
        and     eax, 0x4000
        CHECK   eax, 0x4000, "NT after CALL"
        movzx   eax, word ptr [OTHER]
        CHECK   eax, TASK, "the link after CALL"
        mov     al, [GDT + TASK + 5]
        CHECK   al, 0x8b, "the caller stays busy"
        iretd
after_iret:
        mov     dword ptr [TSS + 68], 0x77777777        # EDI of the first
        iretd

by_gate:
        mov     dword ptr [FREE], 20
        iretd
