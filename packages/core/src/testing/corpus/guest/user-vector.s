# SSE2 in user mode: moves, integer and floating-point arithmetic, comparison, conversion, rounding.
#
# Source: AMD APM vol. 4 for each instruction; 3.1.6 of vol. 1 for MXCSR.

.include "long.s"

_start: SETUP
        mov     rax, cr4
        or      eax, 0x600
        mov     cr4, rax
        PREPARE out
        USER    user
user:   mov     rax, 0x0102030405060708
        movq    xmm0, rax
        punpcklqdq xmm0, xmm0
        movdqa  xmm1, xmm0
        paddb   xmm1, xmm0
        movq    r8, xmm1
        pmaddwd xmm0, xmm0
        movq    r9, xmm0
        mov     rax, 0x7fff80007fff8000
        movq    xmm2, rax
        paddsw  xmm2, xmm2
        movq    r10, xmm2
        mov     eax, 3
        cvtsi2sd xmm3, eax
        sqrtsd  xmm4, xmm3
        movq    r11, xmm4
        mov     eax, 10
        cvtsi2sd xmm5, eax
        divsd   xmm5, xmm3
        movq    r12, xmm5
        cvttsd2si r13, xmm5
        ucomisd xmm3, xmm5
        setb    r14b
        movzx   r14d, r14b
        mov     dword ptr [FREE], 0x7f80        # towards zero
        ldmxcsr [FREE]
        mov     eax, 10
        cvtsi2ss xmm6, eax
        cvtsi2ss xmm7, r13d
        divss   xmm6, xmm7
        movd    r15d, xmm6
        stmxcsr [FREE]
        pcmpeqb xmm0, xmm0
        pmovmskb ebx, xmm0
        movups  [FREE + 0x11], xmm1
        ud2
out:    CHECK   r8, 0x020406080a0c0e10, "PADDB"
        CHECK   r9, 0xa1c14004aac64, "PMADDWD"
        CHECK   r10, 0x7fff80007fff8000, "PADDSW saturates"
        CHECK   r11, 0x3ffbb67ae8584caa, "SQRTSD of 3"
        CHECK   r12, 0x400aaaaaaaaaaaab, "DIVSD: 10 / 3"
        CHECK   r13, 3, "CVTTSD2SI"
        CHECK   r14, 1, "UCOMISD: 3 is below"
        CHECK   r15d, 0x40555555, "DIVSS towards zero: 10 / 3"
        mov     eax, [FREE]
        CHECK   eax, 0x7fa0, "MXCSR: inexact"
        CHECK   ebx, 0xffff, "PMOVMSKB"
        mov     rax, [FREE + 0x19]
        CHECK   rax, 0x020406080a0c0e10, "MOVUPS, unaligned"
        DONE
