# Virtual-8086 mode: addresses, what IOPL and the I/O bitmap forbid, the frame of nine words.
#
# Source: AMD APM vol. 2, 8.7.4 (interrupts to and from virtual-8086 mode), 12.2.4 (I/O bitmap),
# 8.8 (IOPL-sensitive instructions); Intel SDM vol. 3, chapter 21.

.include "protected.s"

.set VM, 0x20002
.set IOPL3, 0x3000

# Enters a task at `target` with data segments 0x2000 to 0x5000.
.macro V86 target:req, flags:req
        push    0x5000                  # GS
        push    0x4000                  # FS
        push    0x3000                  # DS
        push    0x2000                  # ES
        push    0x6000                  # SS
        push    0x0100                  # ESP
        push    \flags
        push    0
        push    offset \target
        iretd
.endm

.macro V86_FAULT vector:req, error:req, flags:req, what:req, instruction:vararg
        PREPARE .Lafter\@
        V86     .Lat\@, \flags
.code16
.Lat\@: \instruction
        ud2
.code32
.Lafter\@:
        mov     eax, [EXC_VECTOR]
        CHECK   eax, \vector, "\what: vector"
        mov     eax, [EXC_ERROR]
        CHECK   eax, \error, "\what: error code"
        mov     eax, [EXC_IP]
        CHECK   eax, .Lat\@, "\what: instruction pointer"
.endm

_start: SETUP
        # An I/O bitmap in which port 0xe0 alone is allowed.
        mov     edi, TSS + 0x68
        mov     ecx, 0x101
        mov     al, 0xff
        cld
        rep stosb
        mov     byte ptr [TSS + 0x68 + PORT / 8], 0xfe
        mov     word ptr [TSS + 102], 0x68
        mov     word ptr [GDT + TASK], 0x168
        mov     byte ptr [GDT + TASK + 5], 0x89
        mov     eax, TASK
        ltr     ax

        # Addresses: segment times 16.
        mov     dword ptr [0x30010], 0x11223344
        mov     dword ptr [0x20020], 0x55667788
        PREPARE out
        V86     task, VM
.code16
task:   mov     eax, ds:[0x10]
        mov     ebx, es:[0x20]
        mov     cx, fs
        push    cx                      # to 0x600fe
        mov     dx, sp
        mov     si, cs
        ud2
.code32
out:    CHECK   eax, 0x11223344, "DS"
        CHECK   ebx, 0x55667788, "ES"
        CHECK   cx, 0x4000, "FS"
        CHECK   dx, 0xfe, "SP"
        CHECK   si, 0, "CS"
        mov     ax, [0x600fe]
        CHECK   ax, 0x4000, "the stack at SS times 16"
        mov     eax, ds
        CHECK   ax, DATA, "DS, loaded by the handler"
        mov     eax, fs
        CHECK   ax, 0, "FS after the interrupt: null"
        mov     eax, gs
        CHECK   ax, 0, "GS after the interrupt: null"

        # The frame.
        mov     eax, [KERNEL_STACK - 4]
        CHECK   eax, 0x5000, "GS in the frame"
        mov     eax, [KERNEL_STACK - 8]
        CHECK   eax, 0x4000, "FS in the frame"
        mov     eax, [KERNEL_STACK - 12]
        CHECK   eax, 0x3000, "DS in the frame"
        mov     eax, [KERNEL_STACK - 16]
        CHECK   eax, 0x2000, "ES in the frame"
        mov     eax, [KERNEL_STACK - 20]
        CHECK   eax, 0x6000, "SS in the frame"
        mov     eax, [KERNEL_STACK - 24]
        CHECK   eax, 0xfe, "ESP in the frame"
        mov     eax, [EXC_FLAGS]
        and     eax, 0x20000
        CHECK   eax, 0x20000, "VM in the frame"
        mov     eax, [EXC_HANDLER_SP]
        CHECK   eax, KERNEL_STACK-36, "nine words"

        # IOPL below 3: #GP for what touches IF, and for INT n; not for INT3.
        V86_FAULT 13, 0, VM, "CLI, IOPL 0", cli
        V86_FAULT 13, 0, VM, "STI, IOPL 0", sti
        V86_FAULT 13, 0, VM, "PUSHF, IOPL 0", pushf
        V86_FAULT 13, 0, VM, "POPF, IOPL 0", popf
        V86_FAULT 13, 0, VM, "IRET, IOPL 0", iret
        V86_FAULT 13, 0, VM, "INT 20, IOPL 0", int 20
        V86_FAULT 13, 20*8+2, VM+IOPL3, "INT 20, IOPL 3, gate of DPL 0", int 20
        V86_FAULT 13, 0, VM+IOPL3, "HLT", hlt
        V86_FAULT 13, 0, VM, "MOV to CR0", mov cr0, eax
        V86_FAULT 6, 0, VM, "LAR: no selectors here", lar ax, cx
        V86_FAULT 6, 0, VM, "ARPL", .byte 0x63, 0xc0
        V86_FAULT 6, 0, VM, "LLDT", lldt ax

        # Interrupt gates of DPL 3 are open with IOPL 3.
        mov     byte ptr [idt + 20 * 8 + 5], 0xee
        PREPARE gate
        V86     soft, VM + IOPL3 + 0x200
.code16
soft:   int     20
after:  ud2
.code32
gate:   mov     eax, [EXC_VECTOR]
        CHECK   eax, 20, "INT 20, IOPL 3, gate of DPL 3"
        mov     eax, [EXC_IP]
        CHECK   eax, after, "behind INT"
        mov     eax, [EXC_FLAGS]
        and     eax, 0x23200
        CHECK   eax, 0x23200, "VM, IOPL, IF in the frame"
        pushfd
        pop     eax
        and     eax, 0x23300
        CHECK   eax, 0x3000, "VM and IF clear, IOPL kept in the handler"
        push    2
        popfd

        # Ports: the bitmap decides, whatever IOPL says.
        V86_FAULT 13, 0, VM+IOPL3, "a port of the bitmap", in al, 0x80
        V86_FAULT 13, 0, VM+IOPL3, "a word of which half is allowed", in ax, PORT
        EXIT    "io out 0xe0 5a"
        PREPARE done
        V86     write, VM
.code16
write:  mov     al, 0x5a
        out     PORT, al
        ud2
.code32
done:   mov     eax, [EXC_VECTOR]
        CHECK   eax, 6, "OUT to the allowed port"

        # An offset beyond 64 KiB.
        V86_FAULT 13, 0, VM, "an offset above the limit", .byte 0x67, 0xa0, 0, 0, 1, 0
        DONE
