# XCHG, XADD, CMPXCHG, CMPXCHG8B and LOCK, also across cache lines and pages.
#
# Source: AMD APM vol. 3, CMPXCHG, CMPXCHG8B, LOCK, XADD, XCHG; 1.2.5 (where LOCK is allowed).

.include "long.s"

_start: SETUP
        mov     ebx, FREE
        mov     dword ptr [rbx], 5
        mov     eax, 7
        xchg    [rbx], eax
        CHECK   eax, 5, "XCHG gives the old value"
        mov     ecx, 10
        lock xadd [rbx], ecx
        CHECK   ecx, 7, "XADD gives the old value"
        mov     eax, [rbx]
        CHECK   eax, 17, "and leaves the sum"
        mov     eax, 17
        mov     ecx, 99
        lock cmpxchg [rbx], ecx
        setz    dl
        CHECK   dl, 1, "CMPXCHG that fits: ZF"
        mov     eax, [rbx]
        CHECK   eax, 99, "CMPXCHG that fits: stored"
        mov     rax, 0x1111111100000001
        lock cmpxchg [rbx], ecx
        setz    dl
        CHECK   dl, 0, "CMPXCHG that does not: ZF"
        CHECK   rax, 99, "CMPXCHG that does not: EAX loaded, zero-extended"
        mov     rax, 0x0807060504030201
        mov     [rbx + 8], rax
        mov     edx, 0x08070605
        mov     eax, 0x04030201
        push    rbx
        mov     ecx, 0x22222222
        mov     ebx, 0x11111111
        lock cmpxchg8b [FREE + 8]
        pop     rbx
        mov     rax, [rbx + 8]
        CHECK   rax, 0x2222222211111111, "CMPXCHG8B"
        mov     dword ptr [rbx], 0
        lock bts dword ptr [rbx], 3
        setc    dl
        CHECK   dl, 0, "LOCK BTS: the old bit"
        lock btr dword ptr [rbx], 3
        setc    dl
        CHECK   dl, 1, "LOCK BTR: the old bit"
        lock or dword ptr [rbx], 0x10
        lock not dword ptr [rbx]
        mov     eax, [rbx]
        CHECK   eax, 0xffffffef, "LOCK OR, LOCK NOT"
        lock neg dword ptr [rbx]
        lock dec dword ptr [rbx]
        mov     eax, [rbx]
        CHECK   eax, 16, "LOCK NEG, LOCK DEC"

        mov     qword ptr [rbx + 0x3c], 1       # across a cache line
        lock add qword ptr [rbx + 0x3c], -2
        mov     rax, [rbx + 0x3c]
        CHECK   rax, -1, "across a cache line"
        mov     qword ptr [rbx + 0xffc], 0x7fffffff
        lock inc qword ptr [rbx + 0xffc]
        mov     rax, [rbx + 0xffc]
        CHECK   rax, 0x80000000, "across a page"

        FAULT   6, 0, "LOCK of a register", .byte 0xf0, 0x01, 0xc0
        FAULT   6, 0, "LOCK of CMP", .byte 0xf0, 0x39, 0x03
        FAULT   6, 0, "LOCK of BT", .byte 0xf0, 0x0f, 0xa3, 0x03
        DONE
