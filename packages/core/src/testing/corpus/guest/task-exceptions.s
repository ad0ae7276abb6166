# Exceptions that switch tasks: by a task gate, with an error code on the new task's stack; and #TS,
# raised in a task that cannot be loaded.
#
# Source: AMD APM vol. 2, 8.2.10 (#TS), 12.3 (task switching), 8.7 (interrupts by task gate).

.include "protected.s"
.include "tasks.s"

_start: SETUP
        TASK_DESCRIPTOR OWN, OTHER
        TASK_STATE OTHER, by_error, 0x7000
        mov     word ptr [idt + 13 * 8 + 2], OWN
        mov     word ptr [idt + 13 * 8 + 4], 0x8500
        mov     ecx, 0x1f0
        mov     fs, cx
        mov     eax, [FREE]
        CHECK   eax, 0x1f0, "the error code on the new task's stack"
        mov     eax, [FREE + 4]
        CHECK   eax, TASK, "the link"
        GATE    13, stubs+16*13

        # What the new task's registers raise is raised in it: #TS, for which a task stands by.
        TASK_DESCRIPTOR OWN, OTHER
        TASK_STATE OTHER, never, 0x7000
        mov     dword ptr [OTHER + 76], DATA
        TASK_DESCRIPTOR OWN+8, THIRD
        TASK_STATE THIRD, invalid, 0x6c00
        mov     word ptr [idt + 10 * 8], 0
        mov     word ptr [idt + 10 * 8 + 2], OWN + 8
        mov     word ptr [idt + 10 * 8 + 4], 0x8500
        jmp     OWN, 0
        FAIL

invalid:
        pop     eax
        CHECK   eax, DATA, "CS that is data: error code"
        movzx   eax, word ptr [THIRD]
        CHECK   eax, OWN, "the same: raised in the new task"
        mov     eax, [OTHER + 32]
        CHECK   eax, never, "the same: EIP of the new task"
        mov     al, [GDT + TASK + 5]
        CHECK   al, 0x89, "the same: the first task had been left"
        DONE

never:  FAIL

by_error:
        pop     dword ptr [FREE]
        movzx   eax, word ptr [OTHER]
        mov     [FREE + 4], eax
        mov     dword ptr [TSS + 44], DATA              # ECX: what loads now
        iretd
