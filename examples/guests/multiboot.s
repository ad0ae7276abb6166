# A Multiboot 1 kernel: checks its loader's magic, prints its command line and its first module.
#
# The file is a 32-bit ELF whose headers are written here by hand, so that it comes out the same
# from every linker. Sources: Multiboot Specification 0.6.96, 3.1-3.3; System V ABI, gabi 4.

.intel_syntax noprefix
.code32
.text
.globl _start

.set LOADED_AT, 0x100000
.set HEADER_MAGIC, 0x1badb002
.set HEADER_FLAGS, 3                    # modules on pages, memory information
.set LOADER_MAGIC, 0x2badb002

# Multiboot information: offsets, and bits of its flags.
.set FLAGS, 0
.set CMDLINE, 16
.set MODS_COUNT, 20
.set MODS_ADDR, 24
.set HAS_CMDLINE_BIT, 2
.set HAS_MODS_BIT, 3

elf_header:
        .byte   0x7f, 'E', 'L', 'F', 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0
        .word   2, 3                    # ET_EXEC, EM_386
        .long   1, _start, program_header - elf_header, 0, 0
        .word   52, 32, 1, 0, 0, 0
program_header:
        .long   1, 0, LOADED_AT, LOADED_AT              # PT_LOAD, offset, vaddr, paddr
        .long   file_end - elf_header, file_end - elf_header, 7, 4096

        .balign 4, 0
        .long   HEADER_MAGIC, HEADER_FLAGS, -(HEADER_MAGIC + HEADER_FLAGS)

_start:
        cmp     eax, LOADER_MAGIC
        jne     bad_loader
        mov     esi, offset text
        call    print
        bt      dword ptr [ebx + FLAGS], HAS_CMDLINE_BIT
        jnc     1f
        mov     esi, [ebx + CMDLINE]
        call    print
1:      mov     esi, offset line_end
        call    print
        bt      dword ptr [ebx + FLAGS], HAS_MODS_BIT
        jnc     3f
        cmp     dword ptr [ebx + MODS_COUNT], 0
        je      3f
        mov     esi, offset module_text
        call    print
        mov     edi, [ebx + MODS_ADDR]  # mod_start, mod_end, string
        mov     esi, [edi]
2:      cmp     esi, [edi + 4]
        jae     3f
        lodsb
        call    print_char
        jmp     2b
3:      jmp     power_off

bad_loader:
        mov     esi, offset bad_text
        call    print
        jmp     power_off

.include "serial-32.s"

text:           .asciz  "multiboot, command line: "
module_text:    .asciz  "module: "
bad_text:       .asciz  "not started by a Multiboot loader\r\n"
line_end:       .asciz  "\r\n"
file_end:
