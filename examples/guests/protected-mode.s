# A flat binary for 32-bit protected mode: calls itself to work out 20 Fibonacci numbers and prints
# the last of them.
#
# Entered at 1 MiB with flat segments, a stack, and paging off.

.intel_syntax noprefix
.code32
.text
.globl _start

_start:
        mov     esi, offset text
        call    print
        mov     eax, 20
        call    fibonacci
        call    print_decimal
        mov     esi, offset line_end
        call    print
        jmp     power_off

# The Fibonacci number of index EAX in EAX, the slow way.
fibonacci:
        cmp     eax, 2
        jb      1f
        push    eax
        dec     eax
        call    fibonacci
        xchg    eax, [esp]
        sub     eax, 2
        call    fibonacci
        pop     ecx
        add     eax, ecx
1:      ret

.include "serial-32.s"

text:           .asciz  "protected mode, fibonacci(20) = "
line_end:       .asciz  "\r\n"
