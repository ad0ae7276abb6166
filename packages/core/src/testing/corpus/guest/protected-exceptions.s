# Exceptions in protected mode: error codes that name a selector or a gate, and the frame, whose
# size depends on the change of privilege.
#
# Source: AMD APM vol. 2, 8.2 (exceptions and error codes), 8.4.1 (selector error codes), 8.7 (stack
# frame), 4.8 (descriptor checks).

.include "protected.s"

_start: SETUP
        # Descriptors of the program's own: from OWN on.
        mov     dword ptr [GDT + OWN], 0x0000ffff           # data, not present
        mov     dword ptr [GDT + OWN + 4], 0x00cf1300
        mov     dword ptr [GDT + OWN + 8], 0x0000ffff       # code, execute-only
        mov     dword ptr [GDT + OWN + 12], 0x00cf9900
        mov     dword ptr [GDT + OWN + 16], 0x0000ffff      # data, read-only
        mov     dword ptr [GDT + OWN + 20], 0x00cf9100
        mov     dword ptr [GDT + OWN + 24], 0x0000ffff      # stack, not present
        mov     dword ptr [GDT + OWN + 28], 0x00cf1300

        mov     ecx, OWN
        FAULT   11, OWN, "a data segment that is not present", mov fs, cx
        FAULT   12, OWN, "a stack segment that is not present", mov ss, cx
        mov     ecx, OWN + 8
        FAULT   13, OWN+8, "execute-only code as data", mov fs, cx
        mov     ecx, OWN + 16
        FAULT   13, OWN+16, "read-only data as a stack", mov ss, cx
        xor     ecx, ecx
        FAULT   13, 0, "a null stack segment", mov ss, cx
        mov     ecx, 0x104
        FAULT   13, 0x104, "a selector of an LDT that is null", mov gs, cx
        mov     ecx, 0x1f8
        FAULT   13, 0x1f8, "a selector beyond the limit", mov gs, cx
        mov     ecx, DATA + 3
        FAULT   13, DATA, "RPL above DPL: the error code has no RPL", mov ss, cx
        FAULT   6, 0, "CS as destination", .byte 0x8e, 0xc8

        # A null selector loads and faults at its use.
        xor     ecx, ecx
        mov     gs, cx
        FAULT   13, 0, "a load by a null segment", mov al, gs:[0]
        mov     ecx, OWN + 16
        mov     gs, cx
        FAULT   13, 0, "a store to a read-only segment", mov gs:[FREE], al
        FAULT   13, 0, "a store to code", mov cs:[FREE], al
        FAULT   13, OWN, "a far jump to data", jmp OWN, 0
        FAULT   13, 0, "a far jump to null", jmp 0, 0
        FAULT   13, 0x1f8, "a far call beyond the limit", call 0x1f8, 0

        # Gates: error codes have bit 1 set and the vector times 8.
        FAULT   13, 0x40*8+2, "INT to an empty gate", int 0x40
        mov     word ptr [idt + 0x41 * 8 + 2], CODE32
        mov     word ptr [idt + 0x41 * 8 + 4], 0x0e00
        FAULT   11, 0x41*8+2, "INT to a gate that is not present", int 0x41
        mov     word ptr [idt + 0x42 * 8 + 2], DATA
        mov     word ptr [idt + 0x42 * 8 + 4], 0x8e00
        FAULT   13, DATA, "INT by a gate to data", int 0x42
        sidt    [FREE]
        mov     word ptr [FREE], 0x42 * 8 + 6
        lidt    [FREE]
        FAULT   13, 0x42*8+2, "INT beyond the limit of the IDT", int 0x42
        lidt    [idt_pointer]

        # From CPL 3.
        USER_FAULT 13, 20*8+2, 2, "INT to a gate of DPL 0", int 20
        USER_FAULT 13, 3*8+2, 2, "INT3 to a gate of DPL 0", int3
        USER_FAULT 13, 0, 2, "HLT", hlt
        USER_FAULT 13, 0, 2, "CLI with IOPL 0", cli
        USER_FAULT 13, 0, 2, "MOV from CR0", mov eax, cr0
        USER_FAULT 13, 0, 2, "LGDT", lgdt [FREE]
        USER_FAULT 13, 0, 2, "RDMSR", rdmsr
        mov     ecx, DATA
        USER_FAULT 13, DATA, 2, "a data segment of DPL 0", mov fs, cx
        mov     eax, [EXC_CS]
        CHECK   eax, USER_CODE32, "CS in the frame"
        mov     eax, [EXC_SS]
        CHECK   eax, USER_DATA, "SS in the frame"
        mov     eax, [EXC_SP]
        CHECK   eax, USER_STACK, "ESP in the frame"
        mov     eax, [EXC_HANDLER_SP]
        CHECK   eax, KERNEL_STACK-20, "five words and an error code on ESP0's stack"

        # Without a change of privilege the frame has three words.
        mov     ebx, esp
        TRY     ud2
        sub     ebx, [EXC_HANDLER_SP]
        CHECK   ebx, 12, "three words"
        DONE
