# What every program of the corpus shares: the memory map that the host prepares (entry.ts), and
# macros that record results.
#
#   CHECK register, expected, "what"   records a register in a result slot. Every CHECK has a slot
#                                      of its own and runs once; it changes no register, no flag
#                                      and uses no stack; DS must have base 0.
#   EXIT "line"[, cpu]                 an exit that the host must see, in canonical form
#   FINAL "register", value            a register as the host must read it at the end
#   DONE                               ends the program
#
# Expected values come from the manuals; the tool keeps them beside the image, not in it.

.intel_syntax noprefix

.set EXCEPTION, 0x600           # cells that the handlers of the includes fill
.set EXC_VECTOR, 0x600
.set EXC_ERROR, 0x608
.set EXC_IP, 0x610
.set EXC_CS, 0x618
.set EXC_FLAGS, 0x620
.set EXC_SP, 0x628
.set EXC_SS, 0x630
.set EXC_HANDLER_SP, 0x638      # the stack pointer on entry to the handler
.set RESUME, 0x640              # where the handler goes on; 0: the exception is a failure
.set RESUME_SP, 0x648
.set EXC_A, 0x650               # RAX as it was
.set TSS, 0x800
.set GDT, 0x2000
.set RESULTS, 0x4000            # 512 slots: 8 bytes of value, 8 that are 1 once recorded
.set SLOTS, 512
.set STACK, 0x7c00              # top; down to 0x6000
.set IMAGE, 0x7c00              # to 0xffff at most
.set TABLES, 0x10000            # long mode: 6 pages of page tables
.set IST_STACK, 0x1b000
.set KERNEL_STACK, 0x1d000      # RSP0
.set USER_STACK, 0x1f000
.set FREE, 0x20000              # to 0x9ffff, and from 1 MiB to 2 MiB: the program's
.set MMIO, 0xd0000000           # 64 KiB: byte i reads as 7 * i + 3; writes are seen by the host
.set PORT, 0xe0                 # 8 ports: reads give bytes 1, 2, 3 ...; writes are seen
.set USER_MSR, 0x00c0ffee       # reads give 0x89abcdef_01234567; writes are seen
.set DEBUG_EXIT, 0xf4
.set FAILURE, 0x3f              # what the handlers write there

# Selectors: their order is what SYSCALL and SYSENTER want, from 0x08 (64-bit) and 0x38 (32-bit).
.set CODE64, 0x08
.set DATA, 0x10
.set USER_CODE32, 0x1b
.set USER_DATA, 0x23
.set USER_CODE64, 0x2b
.set CODE32, 0x38
.set CODE16, 0x58
.set DATA16, 0x60
.set TASK, 0x68                 # 16 bytes; the TSS above, busy
.set OWN, 0x78                  # first of 17 free descriptors

.set check_count, 0

.macro CHECK register:req, expected:req, what:req
        .if check_count >= SLOTS
        .error "too many checks"
        .endif
        mov     ds:[RESULTS + check_count * 16], \register
        mov     byte ptr ds:[RESULTS + check_count * 16 + 8], 1
        .pushsection .expect, ""
        .quad   \expected
        .asciz  "\what"
        .popsection
        .set    check_count, check_count + 1
.endm

.macro EXIT line:req, cpu=0
        .pushsection .exits, ""
        .asciz  "cpu\cpu \line"
        .popsection
.endm

.macro FINAL register:req, value:req
        .pushsection .final, ""
        .quad   \value
        .asciz  "\register"
        .popsection
.endm

.macro DONE
        EXIT    "io out 0xf4 00"
        mov     al, 0
        out     DEBUG_EXIT, al
1:      cli
        hlt
        jmp     1b
.endm

.macro FAIL
        mov     al, FAILURE
        out     DEBUG_EXIT, al
1:      cli
        hlt
        jmp     1b
.endm

# Runs one instruction that raises an exception; then EXC_VECTOR and the others tell which. They
# say -1 when there was none. Changes nothing besides.
.macro TRY instruction:vararg
        PREPARE .Lafter\@
.Lat\@: \instruction
.Lafter\@:
        mov     dword ptr ds:[RESUME], 0
.endm

# The same, and checks vector, error code and the saved instruction pointer (a fault's: the
# instruction itself). Changes EAX.
.macro FAULT vector:req, error:req, what:req, instruction:vararg
        PREPARE .Lafter\@
.Lat\@: \instruction
.Lafter\@:
        mov     dword ptr ds:[RESUME], 0
        mov     eax, ds:[EXC_VECTOR]
        CHECK   eax, (\vector)&0xffffffff, "\what: vector"
        mov     eax, ds:[EXC_ERROR]
        CHECK   eax, (\error)&0xffffffff, "\what: error code"
        mov     eax, ds:[EXC_IP]
        CHECK   eax, .Lat\@, "\what: instruction pointer"
.endm

# The same for a trap: the saved instruction pointer is that of the next instruction.
.macro TRAP vector:req, what:req, instruction:vararg
        PREPARE .Lafter\@
        \instruction
.Lafter\@:
        mov     dword ptr ds:[RESUME], 0
        mov     eax, ds:[EXC_VECTOR]
        CHECK   eax, (\vector)&0xffffffff, "\what: vector"
        mov     eax, ds:[EXC_IP]
        CHECK   eax, .Lafter\@, "\what: instruction pointer"
.endm

# The same at CPL 3, with `flags`. An instruction that raises nothing ends at a UD2 behind it.
.macro USER_FAULT vector:req, error:req, flags:req, what:req, instruction:vararg
        PREPARE .Lafter\@
        USER    .Lat\@, \flags
.Lat\@: \instruction
        ud2
.Lafter\@:
        mov     eax, ds:[EXC_VECTOR]
        CHECK   eax, \vector, "\what: vector"
        mov     eax, ds:[EXC_ERROR]
        CHECK   eax, \error, "\what: error code"
        mov     eax, ds:[EXC_IP]
        CHECK   eax, .Lat\@, "\what: instruction pointer"
.endm

# The same for instructions that raise nothing: they end at the UD2.
.macro USER_RUN flags:req, what:req, instructions:vararg
        PREPARE .Lafter\@
        USER    .Lat\@, \flags
.Lat\@: \instructions
.Lend\@:
        ud2
.Lafter\@:
        mov     eax, ds:[EXC_IP]
        CHECK   eax, .Lend\@, "\what: runs to its end"
.endm

# The same for an instruction that raises nothing.
.macro NOFAULT what:req, instruction:vararg
        PREPARE .Lafter\@
        \instruction
.Lafter\@:
        mov     dword ptr ds:[RESUME], 0
        mov     eax, ds:[EXC_VECTOR]
        CHECK   eax, 0xffffffff, "\what: no exception"
.endm

.text
.globl _start
