# Task-state segments and descriptors of further tasks.
#
# Source: AMD APM vol. 2, 12.2 (task-management resources).

.set OTHER, 0x900                       # TSS of the second task
.set THIRD, 0xa00

# A busy or available 32-bit TSS descriptor at `selector`.
.macro TASK_DESCRIPTOR selector:req, base:req, access=0x89, limit=0x67
        mov     dword ptr [GDT + \selector], (\base << 16) + \limit
        mov     dword ptr [GDT + \selector + 4], \access << 8
.endm

.macro TASK_STATE base:req, entry:req, stack:req
        mov     dword ptr [\base + 28], 0
        mov     dword ptr [\base + 32], offset \entry
        mov     dword ptr [\base + 36], 2
        mov     dword ptr [\base + 40], 0x11111111      # EAX
        mov     dword ptr [\base + 44], 0x22222222      # ECX
        mov     dword ptr [\base + 56], \stack
        mov     dword ptr [\base + 60], 0x33333333      # EBP
        mov     dword ptr [\base + 72], DATA            # ES
        mov     dword ptr [\base + 76], CODE32
        mov     dword ptr [\base + 80], DATA
        mov     dword ptr [\base + 84], DATA
        mov     dword ptr [\base + 88], DATA            # FS
        mov     dword ptr [\base + 92], 0               # GS
        mov     dword ptr [\base + 96], 0               # LDT
        mov     dword ptr [\base + 100], 0x680000
.endm
