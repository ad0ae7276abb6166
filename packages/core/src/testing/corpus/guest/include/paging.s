# What the two paging programs share: where the driver (paging/driver.ts) puts its cases.
#
# The program asks for a batch by a write to PORT: the driver takes the results of the last one and
# writes the next; the program goes through the cases and writes their results. A batch of none ends
# it.

.set HEADER, FREE
.set COUNT, HEADER              # cases in this batch
.set ROOT, HEADER + 8           # CR3
.set PLACES, HEADER + 16        # where the five entries of a case go, root first
.set WIDE, HEADER + 56          # not 0: entries have 8 bytes
.set CASES, HEADER + 0x1000
.set LEVELS, 5

# A case: 128 bytes.
.set ENTRIES, 0                 # five entries, as they are written and as they were afterwards
.set ADDRESS, 40                # the linear address
.set SET_CR0, 48
.set SET_CR4, 56
.set SET_EFER, 64
.set SET_PKRU, 68
.set KIND, 72                   # 0 read, 1 write, 2 execute, 3 implicit read of a descriptor
.set FROM_USER, 76              # not 0: at CPL 3
.set FLAGS, 80
.set VECTOR, 88                 # -1: none
.set ERROR, 92
.set FAULT_CR2, 96
.set CASE_SIZE, 128

.set EFER, 0xc0000080
.set CR4_PKE, 1 << 22
.set DONE_VECTOR, 6             # #UD: the access was made
.set LDT_SELECTOR, 7            # the first entry of the LDT, which lies at the address

# The accesses, 16 bytes each, with the address in \at. They end with UD2; what the page holds is
# UD2 and, taken as a descriptor, a present, accessed data segment of DPL 3.
.macro STUBS at
        .balign 16
        mov     al, [\at]
        ud2
        .balign 16
        mov     al, 0x0f
        mov     [\at], al
        ud2
        .balign 16
        jmp     \at
        .balign 16
        mov     eax, LDT_SELECTOR
        mov     fs, eax
        ud2
.endm

# A page of its own, which user mode may execute.
.macro USER_STUBS at
        .org    0xa000 - IMAGE
user_stubs:
        STUBS   \at
        .org    0xb000 - IMAGE
.endm
