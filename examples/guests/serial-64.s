# Printing in long mode: COM1 by polling, and the way to switch the machine off.
#
# Sources: National PC16550D datasheet (registers by their names there); ACPI 6.5, 4.8.3.2 for
# PM1_CNT. PM1a_CNT lies at port 0x604, S5 is SLP_TYP 5: what the machine's FADT and \_S5 say.
# Every routine keeps all registers but RAX and those that it takes its arguments in.

.set COM1, 0x3f8
.set PM1A_CNT, 0x604
.set S5_AND_SLP_EN, (5 << 10) | (1 << 13)

# 115200 baud, 8 data bits, no parity, one stop bit, FIFOs on.
serial_start:
        push    rdx
        mov     dx, COM1 + 3            # LCR: divisor latch access
        mov     al, 0x80
        out     dx, al
        mov     dx, COM1                # DLL
        mov     al, 1
        out     dx, al
        inc     dx                      # DLM
        xor     eax, eax
        out     dx, al
        mov     dx, COM1 + 3            # LCR: 8N1
        mov     al, 3
        out     dx, al
        dec     dx                      # FCR: enable and clear both FIFOs
        mov     al, 7
        out     dx, al
        mov     dx, COM1 + 4            # MCR: DTR, RTS
        mov     al, 3
        out     dx, al
        pop     rdx
        ret

# Prints the character in AL.
print_char:
        push    rdx
        push    rax
        mov     dx, COM1 + 5            # LSR
1:      in      al, dx
        test    al, 0x20                # THRE
        jz      1b
        mov     dx, COM1                # THR
        pop     rax
        out     dx, al
        pop     rdx
        ret

# Prints the text at RSI up to its zero byte.
print:
        lodsb
        test    al, al
        jz      1f
        call    print_char
        jmp     print
1:      ret

# Prints EAX in decimal.
print_decimal:
        push    rcx
        push    rdx
        mov     ecx, 10
        xor     edx, edx
        div     ecx
        test    eax, eax
        jz      1f
        call    print_decimal
1:      lea     eax, [rdx + '0']
        call    print_char
        pop     rdx
        pop     rcx
        ret

# Prints EAX as eight hexadecimal digits.
print_hex:
        push    rcx
        push    rdx
        mov     edx, eax
        mov     ecx, 8
1:      rol     edx, 4
        mov     eax, edx
        and     eax, 15
        cmp     al, 10
        jb      2f
        add     al, 'a' - '0' - 10
2:      add     al, '0'
        call    print_char
        dec     ecx
        jnz     1b
        pop     rdx
        pop     rcx
        ret

# Ends the machine: soft off. Where nothing answers, the processor sleeps for good.
power_off:
        mov     dx, PM1A_CNT
        mov     ax, S5_AND_SLP_EN
        out     dx, ax
1:      cli
        hlt
        jmp     1b
