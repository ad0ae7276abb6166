# A flat binary for long mode: prints RDI as it was given, and what SSE2 makes of it.
#
# Entered at 1 MiB with flat segments, a stack, and the first 4 GiB mapped to themselves. SSE is
# switched on here: a processor starts with it off (AMD APM vol. 2, 11.3).

.intel_syntax noprefix
.code64
.text
.globl _start

_start:
        mov     rax, cr0
        and     eax, ~4                 # EM
        or      eax, 2                  # MP
        mov     cr0, rax
        mov     rax, cr4
        or      eax, 0x600              # OSFXSR, OSXMMEXCPT
        mov     cr4, rax
        mov     ebx, edi
        lea     rsi, text[rip]
        call    print
        mov     eax, ebx
        call    print_decimal
        lea     rsi, root_text[rip]
        call    print
        cvtsi2sd xmm0, ebx
        sqrtsd  xmm0, xmm0
        cvttsd2si eax, xmm0
        call    print_decimal
        lea     rsi, line_end[rip]
        call    print
        jmp     power_off

.include "serial-64.s"

text:           .asciz  "long mode, rdi = "
root_text:      .asciz  ", its square root = "
line_end:       .asciz  "\r\n"
