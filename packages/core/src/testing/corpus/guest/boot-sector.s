# A boot sector of 512 bytes that uses no BIOS: serial port, CMOS, PIT and PIC, and prints what it
# found. `cloister run --entry flat` runs it as well.
#
# Source: IBM PC AT Technical Reference (1984): 8254 at 0x40, port B at 0x61, RTC at 0x70, 8259 at
# 0x20; National PC16550D data sheet (line status); MC146818 data sheet (register D).

.intel_syntax noprefix
.code16
.text
.globl _start

.set COM1, 0x3f8

_start: cli
        xor     ax, ax
        mov     ds, ax
        mov     ss, ax
        mov     sp, 0x7c00
        cld
        mov     dx, COM1 + 1            # no interrupts, 115200 8N1, FIFOs
        xor     al, al
        out     dx, al
        add     dx, 2
        mov     al, 0x83
        out     dx, al
        mov     dx, COM1
        mov     al, 1
        out     dx, al
        inc     dx
        xor     al, al
        out     dx, al
        add     dx, 2
        mov     al, 3
        out     dx, al
        mov     si, offset hello
        call    print

        # CMOS: the time is valid, and the base memory in KiB.
        mov     al, 0x0d
        call    cmos
        test    al, 0x80
        jz      bad
        mov     al, 0x16
        call    cmos
        mov     ah, al
        mov     al, 0x15
        call    cmos
        cmp     ax, 640
        jne     bad
        mov     si, offset memory
        call    print

        # PIT channel 2 in mode 0, watched by port B: low at first, high at the end of the count.
        in      al, 0x61
        and     al, 0xfc
        or      al, 1
        out     0x61, al
        mov     al, 0xb0
        out     0x43, al
        mov     al, 0
        out     0x42, al
        mov     al, 8
        out     0x42, al
        in      al, 0x61
        test    al, 0x20
        jnz     bad
1:      mov     cx, 1000                # looking costs more than waiting
6:      loop    6b
        in      al, 0x61
        test    al, 0x20
        jz      1b
        mov     si, offset pit
        call    print

        # Three ticks of channel 0 by IRQ 0 at vector 0x20, each ending a HLT.
        mov     word ptr ds:[0x80], offset tick
        mov     word ptr ds:[0x82], 0
        mov     si, offset pic
        mov     dx, 0x20
        outsb
        inc     dx
        outsb
        outsb
        outsb
        mov     al, 0xfe
        out     dx, al
        mov     al, 0x34
        out     0x43, al
        mov     al, 0x00
        out     0x40, al
        mov     al, 0x10
        out     0x40, al
        xor     cx, cx
2:      sti
        hlt
        cli
        cmp     cx, 3
        jb      2b
        mov     si, offset ticks
        call    print
        xor     al, al
        jmp     end
bad:    mov     si, offset wrong
        call    print
        mov     al, 1
end:    out     0xf4, al
3:      cli
        hlt
        jmp     3b

tick:   inc     cx
        push    ax
        mov     al, 0x20
        out     0x20, al
        pop     ax
        iret

cmos:   out     0x70, al
        in      al, 0x71
        ret

print:  lodsb
        test    al, al
        jz      5f
        mov     bl, al
        mov     dx, COM1 + 5
4:      in      al, dx
        test    al, 0x20
        jz      4b
        mov     dx, COM1
        mov     al, bl
        out     dx, al
        jmp     print
5:      ret

hello:  .asciz  "serial"
memory: .asciz  ", CMOS"
pit:    .asciz  ", PIT"
ticks:  .asciz  ", PIC\r\n"
wrong:  .asciz  ": wrong\r\n"
pic:    .byte   0x11, 0x20, 4, 1

        .org    510, 0
        .word   0xaa55
