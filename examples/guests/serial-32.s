# Printing in 32-bit protected mode: COM1 by polling, and the way to switch the machine off.
#
# As serial-64.s, for code with flat segments and a stack. EAX is lost, and ESI where it is taken.

.set COM1, 0x3f8
.set PM1A_CNT, 0x604
.set S5_AND_SLP_EN, (5 << 10) | (1 << 13)

# Prints the character in AL.
print_char:
        push    edx
        push    eax
        mov     dx, COM1 + 5            # LSR
1:      in      al, dx
        test    al, 0x20                # THRE
        jz      1b
        mov     dx, COM1                # THR
        pop     eax
        out     dx, al
        pop     edx
        ret

# Prints the text at ESI up to its zero byte.
print:
        lodsb
        test    al, al
        jz      1f
        call    print_char
        jmp     print
1:      ret

# Prints EAX in decimal.
print_decimal:
        push    ecx
        push    edx
        mov     ecx, 10
        xor     edx, edx
        div     ecx
        test    eax, eax
        jz      1f
        call    print_decimal
1:      lea     eax, [edx + '0']
        call    print_char
        pop     edx
        pop     ecx
        ret

# Ends the machine: soft off. Where nothing answers, the processor sleeps for good.
power_off:
        mov     dx, PM1A_CNT
        mov     ax, S5_AND_SLP_EN
        out     dx, ax
1:      cli
        hlt
        jmp     1b
