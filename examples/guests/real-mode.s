# A boot sector: prints its drive number and a line by OUTSB, then ends by the debug-exit port.
#
# Entered at 0000:7c00 in real mode as a BIOS does it, but there are no BIOS services.
# Source: IBM PC AT Technical Reference (1984), "boot record"; docs/cli.md for the exit status.

.intel_syntax noprefix
.code16
.text
.globl _start

.set COM1, 0x3f8
.set DEBUG_EXIT, 0xf4

_start:
        xor     ax, ax
        mov     ds, ax
        mov     al, dl                  # the boot drive, two digits
        shr     al, 4
        add     al, '0'
        mov     ds:[drive], al
        mov     al, dl
        and     al, 15
        add     al, '0'
        mov     ds:[drive + 1], al
        cld
        mov     si, offset text
        mov     cx, offset text_end - text
        mov     dx, COM1
        rep     outsb
        mov     al, 3                   # exit status (3 << 1) | 1
        mov     dx, DEBUG_EXIT
        out     dx, al
1:      cli
        hlt
        jmp     1b

text:   .ascii  "real mode, drive "
drive:  .ascii  "??\r\n"
text_end:

        .org    510, 0
        .word   0xaa55
