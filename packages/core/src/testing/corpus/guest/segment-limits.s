# Limits of segments: byte and page granularity, expand-down, stacks, code, and addresses that wrap
# at 4 GiB.
#
# Source: AMD APM vol. 2, 4.7.1 and 4.7.3 (granularity, expand-down), 4.12.2 (limit checks).

.include "protected.s"

.macro DESCRIPTOR index:req, low:req, high:req
        mov     dword ptr [GDT + OWN + 8 * \index], \low
        mov     dword ptr [GDT + OWN + 8 * \index + 4], \high
.endm

_start: SETUP
        # All at base 0x20000.
        DESCRIPTOR 0, 0x00000fff, 0x00409202    # data, limit 0xfff
        DESCRIPTOR 1, 0x00000001, 0x00c09202    # data, limit 1 page more: 0x1fff
        DESCRIPTOR 2, 0x00000fff, 0x00409602    # expand-down: 0x1000 and above
        DESCRIPTOR 3, 0x00000fff, 0x00009602    # expand-down, 16-bit: 0x1000 to 0xffff
        DESCRIPTOR 4, 0x0000ffff, 0x00cf9203    # base 0x30000, 4 GiB
        DESCRIPTOR 6, 0x00000fff, 0x0040f602    # expand-down, DPL 3
        DESCRIPTOR 5, 0x00000fff, 0x00409a02    # code, limit 0xfff, base 0x20000

        mov     ecx, OWN
        mov     fs, cx
        NOFAULT "the last byte", mov al, fs:[0xfff]
        FAULT   13, 0, "the byte behind", mov al, fs:[0x1000]
        NOFAULT "the last word", mov ax, fs:[0xffe]
        FAULT   13, 0, "a word across the limit", mov ax, fs:[0xfff]
        FAULT   13, 0, "a doubleword across it", mov eax, fs:[0xffd]
        FAULT   13, 0, "a far offset", mov al, fs:[0xffffffff]
        FAULT   13, 0, "a store across it", mov fs:[0xffd], eax
        mov     ecx, OWN + 8
        mov     fs, cx
        NOFAULT "the last doubleword of two pages", mov eax, fs:[0x1ffc]
        FAULT   13, 0, "the byte behind two pages", mov al, fs:[0x2000]
        lsl     edx, ecx
        CHECK   edx, 0x1fff, "LSL of two pages"

        mov     ecx, OWN + 16
        mov     fs, cx
        FAULT   13, 0, "expand-down: the limit itself", mov al, fs:[0xfff]
        FAULT   13, 0, "expand-down: 0", mov al, fs:[0]
        NOFAULT "expand-down: above the limit", mov al, fs:[0x1000]
        NOFAULT "expand-down: above 64 KiB", mov al, fs:[0x12345]
        mov     ecx, OWN + 24
        mov     fs, cx
        NOFAULT "expand-down, 16-bit: the last word", mov ax, fs:[0xfffe]
        FAULT   13, 0, "expand-down, 16-bit: across its end", mov ax, fs:[0xffff]
        FAULT   13, 0, "expand-down, 16-bit: above 64 KiB", mov al, fs:[0x10000]

        # Linear addresses wrap.
        mov     ecx, OWN + 32
        mov     fs, cx
        mov     dword ptr [0x20000], 0x13579bdf
        mov     eax, fs:[0xffff0000]
        CHECK   eax, 0x13579bdf, "0x30000 + 0xffff0000"

        # Strings.
        mov     ecx, OWN
        mov     es, cx
        mov     edi, 0xffe
        mov     ecx, 4
        cld
        FAULT   13, 0, "REP STOSB over the limit", rep stosb
        CHECK   ecx, 2, "ECX: two were stored"
        CHECK   edi, 0x1000, "EDI: the one that faulted"
        mov     ecx, DATA
        mov     es, cx

        # Stacks: #SS. At CPL 3, so that the handler has another one.
        PREPARE stack_out
        USER    pusher
pusher: mov     ecx, OWN + 48 + 3
        mov     ss, ecx
        mov     esp, 0x1008
        push    eax
        push    eax
at:     push    eax                     # would go to 0xffc
        ud2
stack_out:
        mov     eax, [EXC_VECTOR]
        CHECK   eax, 12, "PUSH below an expand-down stack: vector"
        mov     eax, [EXC_ERROR]
        CHECK   eax, 0, "the same: error code"
        mov     eax, [EXC_IP]
        CHECK   eax, at, "the same: instruction pointer"
        mov     eax, [EXC_SP]
        CHECK   eax, 0x1000, "the same: ESP"
        PREPARE by_ebp
        USER    loader
loader: mov     ecx, OWN + 48 + 3
        mov     ss, ecx
        mov     ebp, 0xffe
        mov     al, [ebp]
        ud2
by_ebp: mov     eax, [EXC_VECTOR]
        CHECK   eax, 12, "a load by EBP outside SS"
        mov     eax, [EXC_SS]
        CHECK   ax, OWN+48+3, "SS"

        # Code: a jump beyond the limit faults before it is taken; running off the end does too.
        mov     byte ptr [0x20ffe], 0x90
        mov     byte ptr [0x20fff], 0x90
        mov     byte ptr [0x20000], 0xe9        # JMP to 0x2000
        mov     dword ptr [0x20001], 0x1ffb
        PREPARE code_1
        jmp     OWN + 40, 0
code_1: mov     eax, [EXC_VECTOR]
        CHECK   eax, 13, "a jump beyond the limit: vector"
        mov     eax, [EXC_IP]
        CHECK   eax, 0, "the same: at the jump"
        PREPARE code_2
        jmp     OWN + 40, 0xffe
code_2: mov     eax, [EXC_VECTOR]
        CHECK   eax, 13, "off the end of the segment: vector"
        mov     eax, [EXC_IP]
        CHECK   eax, 0x1000, "the same: behind the last byte"
        mov     eax, [EXC_CS]
        CHECK   ax, OWN+40, "the same: CS"
        FAULT   13, 0, "a far jump beyond the limit", jmp OWN + 40, 0x1000
        DONE
