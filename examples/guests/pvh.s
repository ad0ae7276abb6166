# A kernel with a PVH entry: checks the start information's magic, prints its command line and how
# many entries the memory map has.
#
# The file is an ELF whose headers and note are written here by hand, so that it comes out the same
# from every linker. Sources: Xen's docs/misc/pvh.pandoc and public/arch-x86/hvm/start_info.h;
# System V ABI, gabi 4.

.intel_syntax noprefix
.code32
.text
.globl _start

.set LOADED_AT, 0x100000
.set START_MAGIC, 0x336ec578
.set XEN_ELFNOTE_PHYS32_ENTRY, 18

# hvm_start_info: offsets.
.set MAGIC, 0
.set CMDLINE_PADDR, 24
.set MEMMAP_ENTRIES, 48

elf_header:
        .byte   0x7f, 'E', 'L', 'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0
        .word   2, 62                   # ET_EXEC, EM_X86_64
        .long   1
        .quad   _start, program_headers - elf_header, 0
        .long   0
        .word   64, 56, 2, 0, 0, 0
program_headers:
        .long   1, 7                    # PT_LOAD, RWX
        .quad   0, LOADED_AT, LOADED_AT
        .quad   file_end - elf_header, file_end - elf_header, 4096
        .long   4, 4                    # PT_NOTE, R
        .quad   note - elf_header, note, note
        .quad   note_end - note, note_end - note, 4

        .balign 4, 0
note:   .long   4, 4, XEN_ELFNOTE_PHYS32_ENTRY
        .asciz  "Xen"
        .long   _start
note_end:

_start:
        mov     esp, offset stack_top   # PVH promises no stack
        cmp     dword ptr [ebx + MAGIC], START_MAGIC
        jne     bad_loader
        mov     esi, offset text
        call    print
        mov     esi, [ebx + CMDLINE_PADDR]
        call    print
        mov     esi, offset map_text
        call    print
        mov     eax, [ebx + MEMMAP_ENTRIES]
        call    print_decimal
        mov     esi, offset line_end
        call    print
        jmp     power_off

bad_loader:
        mov     esi, offset bad_text
        call    print
        jmp     power_off

.include "serial-32.s"

text:           .asciz  "pvh, command line: "
map_text:       .asciz  ", memory map entries: "
bad_text:       .asciz  "not started by a PVH loader\r\n"
line_end:       .asciz  "\r\n"
        .balign 16, 0
        .skip   256, 0
stack_top:
file_end:
