# The project's own guest: starts like a boot sector in real mode, goes to long mode by itself,
# looks at its machine, computes a little, waits for a timer and switches the machine off.
#
# Loaded at 0x7c00 and entered there, e.g. by `cloister run --kernel guest-hello.bin --entry flat`.
# Built by examples/guests/build.mjs. The image itself is only read: its CRC-32 is that of the file.
#
# Sources: AMD APM vol. 2, 14.6 (switching to long mode), 4.8 (descriptors), 8.9 (gates);
# Intel 8259A and 8254 datasheets; CMOS memory-size bytes as PC firmware keeps them.

.intel_syntax noprefix
.text
.globl _start

# Memory below the image; the sieve lies in the second MiB, one byte per number.
.set PML4, 0x1000
.set PDPT, 0x2000
.set PD, 0x3000
.set IDT, 0x4000
.set TICKS, 0x5000
.set NAME, 0x5010
.set STACK, 0x7c00
.set SIEVE, 0x100000
.set SIEVE_LENGTH, 1000000

.set TIMER_VECTOR, 0x20
.set TIMER_TICKS, 10
.set TIMER_DIVISOR, 11932               # 1193182 Hz / 100

# --- Real mode: page tables, then straight to long mode

.code16
_start:
        cli
        cld
        xor     eax, eax
        mov     ds, ax
        mov     es, ax
        mov     ss, ax
        mov     esp, STACK
        mov     di, PML4                # clear the tables, the IDT and the variables
        mov     ecx, (0x6000 - PML4) / 4
        rep     stosd
        mov     dword ptr ds:[PML4], PDPT + 3
        mov     dword ptr ds:[PDPT], PD + 3
        mov     dword ptr ds:[PD], 0x83 # the first 2 MiB as one page: present, writable, PS
        mov     eax, cr4
        or      eax, 0x20               # PAE
        mov     cr4, eax
        mov     eax, PML4
        mov     cr3, eax
        mov     ecx, 0xc0000080         # EFER
        rdmsr
        or      eax, 0x100              # LME
        wrmsr
        lgdt    ds:[gdt_pointer]
        mov     eax, cr0
        or      eax, 0x80000001         # PG, PE
        mov     cr0, eax
        .byte   0x66, 0xea              # far jump, 32-bit offset
        .long   long_mode
        .word   8

        .balign 8, 0
gdt:    .quad   0
        .quad   0x00209b0000000000      # code, L; accessed already: nothing is written here
        .quad   0x0000930000000000      # data
gdt_pointer:
        .word   . - gdt - 1
        .long   gdt

        .org    510
        .word   0xaa55                  # so that the file says what it is

# --- Long mode

.code64
long_mode:
        mov     eax, 16
        mov     ds, eax
        mov     es, eax
        mov     ss, eax
        call    serial_start
        lea     rsi, banner[rip]
        call    print
        call    show_processor
        call    show_memory
        call    show_image
        call    show_primes
        call    show_timer
        lea     rsi, farewell[rip]
        call    print
        jmp     power_off

# "processor: " vendor, and the brand string where there is one.
show_processor:
        lea     rsi, processor_text[rip]
        call    print
        xor     eax, eax
        cpuid
        mov     ds:[NAME], ebx
        mov     ds:[NAME + 4], edx
        mov     ds:[NAME + 8], ecx
        mov     byte ptr ds:[NAME + 12], 0
        mov     esi, NAME
        call    print
        mov     eax, 0x80000000
        cpuid
        cmp     eax, 0x80000004
        jb      2f
        mov     edi, NAME
        mov     r8d, 0x80000002
1:      mov     eax, r8d
        cpuid
        mov     [rdi], eax
        mov     [rdi + 4], ebx
        mov     [rdi + 8], ecx
        mov     [rdi + 12], edx
        add     edi, 16
        inc     r8d
        cmp     r8d, 0x80000004
        jbe     1b
        mov     byte ptr [rdi], 0
        lea     rsi, comma[rip]
        call    print
        mov     esi, NAME
        call    print
2:      jmp     new_line

# "memory: " as CMOS has it: 64 KiB blocks from 16 MiB to 4 GiB and those above 4 GiB, or, where
# there are none, KiB above 1 MiB.
show_memory:
        lea     rsi, memory_text[rip]
        call    print
        mov     ecx, 0x5d
        call    cmos
        mov     ebx, eax
        dec     ecx
        call    cmos
        shl     ebx, 8
        or      ebx, eax
        dec     ecx
        call    cmos
        shl     ebx, 8
        or      ebx, eax
        mov     ecx, 0x35
        call    cmos
        shl     eax, 8
        mov     edx, eax
        dec     ecx
        call    cmos
        or      eax, edx
        add     eax, ebx
        jz      1f
        shr     eax, 4
        add     eax, 16
        jmp     2f
1:      mov     ecx, 0x31
        call    cmos
        shl     eax, 8
        mov     edx, eax
        dec     ecx
        call    cmos
        or      eax, edx
        shr     eax, 10
        inc     eax
2:      call    print_decimal
        lea     rsi, mib[rip]
        jmp     print

# The CMOS byte ECX in EAX.
cmos:
        mov     eax, ecx
        out     0x70, al
        in      al, 0x71
        movzx   eax, al
        ret

# "image: " its length and its CRC-32 (IEEE 802.3, reflected, bit by bit).
show_image:
        lea     rsi, image_text[rip]
        call    print
        mov     eax, offset image_end - _start
        call    print_decimal
        lea     rsi, crc_text[rip]
        call    print
        lea     rsi, _start[rip]
        lea     rdi, image_end[rip]
        mov     edx, -1
1:      movzx   eax, byte ptr [rsi]
        xor     edx, eax
        mov     ecx, 8
2:      shr     edx, 1
        jnc     3f
        xor     edx, 0xedb88320
3:      dec     ecx
        jnz     2b
        inc     rsi
        cmp     rsi, rdi
        jb      1b
        mov     eax, edx
        not     eax
        call    print_hex
        jmp     new_line

# "primes: " how many there are below SIEVE_LENGTH, by Eratosthenes' sieve.
show_primes:
        lea     rsi, primes_text[rip]
        call    print
        mov     edi, SIEVE
        mov     ecx, SIEVE_LENGTH
        xor     eax, eax
        rep     stosb
        xor     r8d, r8d                # primes so far
        mov     ebx, 2
1:      cmp     byte ptr [rbx + SIEVE], 0
        jne     3f
        inc     r8d
        mov     rax, rbx
        imul    rax, rbx
2:      cmp     rax, SIEVE_LENGTH
        jae     3f
        mov     byte ptr [rax + SIEVE], 1
        add     rax, rbx
        jmp     2b
3:      inc     ebx
        cmp     ebx, SIEVE_LENGTH
        jb      1b
        mov     eax, r8d
        call    print_decimal
        jmp     new_line

# "timer: " sleeps until the i8254 has interrupted TIMER_TICKS times by way of the i8259.
show_timer:
        lea     rsi, timer_text[rip]
        call    print
        lea     rax, timer_interrupt[rip]
        mov     edi, IDT + TIMER_VECTOR * 16
        mov     [rdi], ax               # gate: offset, selector, type, offset
        mov     word ptr [rdi + 2], 8
        mov     word ptr [rdi + 4], 0x8e00
        shr     eax, 16
        mov     [rdi + 6], ax
        lidt    idt_pointer[rip]
        mov     al, 0x11                # ICW1: cascade, ICW4 follows
        out     0x20, al
        mov     al, TIMER_VECTOR        # ICW2
        out     0x21, al
        mov     al, 4                   # ICW3
        out     0x21, al
        mov     al, 1                   # ICW4: 8086 mode
        out     0x21, al
        mov     al, 0xfe                # OCW1: IRQ 0 only
        out     0x21, al
        mov     al, 0x34                # counter 0, both bytes, mode 2
        out     0x43, al
        mov     al, TIMER_DIVISOR & 0xff
        out     0x40, al
        mov     al, TIMER_DIVISOR >> 8
        out     0x40, al
1:      sti
        hlt
        cli
        cmp     dword ptr ds:[TICKS], TIMER_TICKS
        jb      1b
        mov     al, 0xff
        out     0x21, al
        mov     eax, ds:[TICKS]
        call    print_decimal
        lea     rsi, ticks_text[rip]
        jmp     print

timer_interrupt:
        push    rax
        inc     dword ptr ds:[TICKS]
        mov     al, 0x20                # OCW2: non-specific EOI
        out     0x20, al
        pop     rax
        iretq

new_line:
        lea     rsi, line_end[rip]
        jmp     print

.include "serial-64.s"

idt_pointer:
        .word   (TIMER_VECTOR + 1) * 16 - 1
        .quad   IDT

banner:         .asciz  "Hello from a guest of the project's own.\r\n"
processor_text: .asciz  "processor: "
comma:          .asciz  ", "
memory_text:    .asciz  "memory: "
mib:            .asciz  " MiB\r\n"
image_text:     .asciz  "image: "
crc_text:       .asciz  " bytes, CRC-32 "
primes_text:    .asciz  "primes below 1000000: "
timer_text:     .asciz  "timer: "
ticks_text:     .asciz  " ticks at 100 Hz\r\n"
farewell:       .asciz  "Switching off.\r\n"
line_end:       .asciz  "\r\n"
image_end:
