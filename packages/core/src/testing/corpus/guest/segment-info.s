# LAR, LSL, VERR, VERW, ARPL: what they say of descriptors, and ZF.
#
# Source: AMD APM vol. 3, ARPL, LAR, LSL, VERR, VERW.

.include "protected.s"

.macro ZERO_FLAG value:req, what:req
        setz    dl
        CHECK   dl, \value, "\what"
.endm

_start: SETUP
        mov     dword ptr [GDT + OWN], 0x0000ffff           # execute-only code
        mov     dword ptr [GDT + OWN + 4], 0x00cf9800
        mov     dword ptr [GDT + OWN + 8], 0x12345678       # call gate, 32-bit
        mov     dword ptr [GDT + OWN + 12], 0x0000ec00
        mov     dword ptr [GDT + OWN + 16], 0x12345678      # interrupt gate: no type for a GDT
        mov     dword ptr [GDT + OWN + 20], 0x00008e00
        mov     dword ptr [GDT + OWN + 24], 0x0000ffff      # read-only data, DPL 0, not present
        mov     dword ptr [GDT + OWN + 28], 0x00cf1000

        mov     ecx, DATA
        lar     eax, ecx
        ZERO_FLAG 1, "ZF of LAR"
        CHECK   eax, 0x00cf9300, "LAR of data"
        lsl     eax, ecx
        CHECK   eax, 0xffffffff, "LSL of data"
        mov     ecx, TASK
        lar     eax, ecx
        CHECK   eax, 0x00008b00, "LAR of the busy TSS"
        lsl     eax, ecx
        CHECK   eax, 0x67, "LSL of the TSS"
        mov     ecx, OWN + 8
        lar     eax, ecx
        ZERO_FLAG 1, "LAR of a call gate"
        CHECK   eax, 0x0000ec00, "LAR of a call gate: what it gives"
        mov     eax, 0x77
        lsl     eax, ecx
        ZERO_FLAG 0, "LSL of a call gate"
        CHECK   eax, 0x77, "LSL that fails changes nothing"
        mov     ecx, OWN + 16
        lar     eax, ecx
        ZERO_FLAG 0, "LAR of an interrupt gate"
        xor     ecx, ecx
        lar     eax, ecx
        ZERO_FLAG 0, "LAR of the null selector"
        mov     ecx, 0x1f8
        lar     eax, ecx
        ZERO_FLAG 0, "LAR beyond the limit"
        mov     ecx, DATA + 3
        lar     eax, ecx
        ZERO_FLAG 0, "LAR with RPL above DPL"
        mov     ecx, OWN + 24
        lar     eax, ecx
        ZERO_FLAG 1, "LAR of a segment that is not present"

        mov     ecx, DATA
        verr    cx
        ZERO_FLAG 1, "VERR of data"
        verw    cx
        ZERO_FLAG 1, "VERW of data"
        mov     ecx, CODE32
        verr    cx
        ZERO_FLAG 1, "VERR of readable code"
        verw    cx
        ZERO_FLAG 0, "VERW of code"
        mov     ecx, OWN
        verr    cx
        ZERO_FLAG 0, "VERR of execute-only code"
        mov     ecx, TASK
        verr    cx
        ZERO_FLAG 0, "VERR of a TSS"
        mov     ecx, OWN + 24
        verw    cx
        ZERO_FLAG 0, "VERW of read-only data"

        mov     eax, 0x10
        mov     ecx, 0x1b
        arpl    ax, cx
        ZERO_FLAG 1, "ARPL that adjusts"
        CHECK   eax, 0x13, "ARPL: the RPL"
        mov     ecx, 0x11
        arpl    ax, cx
        ZERO_FLAG 0, "ARPL that need not"
        CHECK   eax, 0x13, "ARPL: as it was"
        DONE
