# x87 in user mode: stack, constants, rounding, precision, comparison, BCD, status.
#
# Source: AMD APM vol. 5 for each instruction; vol. 1, 6.2 (registers).

.include "long.s"

_start: PREPARE out
        SETUP
        PREPARE out
        USER    user
user:   fninit
        fld1
        fldpi
        fmulp
        fstp    qword ptr [FREE]
        mov     r8, [FREE]
        mov     word ptr [FREE], 0xf7f          # towards zero
        fldcw   [FREE]
        fldpi
        fistp   qword ptr [FREE]
        mov     r9, [FREE]
        fninit
        mov     dword ptr [FREE], 7
        fild    dword ptr [FREE]
        fchs
        fistp   word ptr [FREE]
        movsx   r10, word ptr [FREE]
        fld1
        fldz
        fcomip  st, st(1)                       # 0 with 1
        setb    r11b
        movzx   r11d, r11b
        fstp    st(0)
        mov     dword ptr [FREE], 1234
        fild    dword ptr [FREE]
        fbstp   [FREE]
        mov     r12, [FREE]
        fld1
        fld1
        fnstsw  ax
        movzx   r13d, ax
        fninit
        fld1
        fldz
        fdivp
        fnstsw  ax
        movzx   r14d, ax
        fstp    qword ptr [FREE]
        mov     r15, [FREE]
        fninit
        fld1
        mov     dword ptr [FREE], 3
        fidiv   dword ptr [FREE]
        fstp    tbyte ptr [FREE]
        mov     rbx, [FREE]
        movzx   ecx, word ptr [FREE + 8]
        ud2
out:    CHECK   r8, 0x400921fb54442d18, "pi as a double"
        CHECK   r9, 3, "FISTP towards zero"
        CHECK   r10, -7, "FCHS, FISTP of a word"
        CHECK   r11, 1, "FCOMIP: 0 is below 1"
        CHECK   r12, 0x1234, "FBSTP"
        and     r13d, 0x3800
        CHECK   r13d, 0x3000, "TOP with two values"
        and     r14d, 0xff
        CHECK   r14d, 4, "ZE"
        CHECK   r15, 0x7ff0000000000000, "1 / 0: infinity"
        CHECK   rbx, 0xaaaaaaaaaaaaaaab, "1 / 3, 64 bits of it"
        CHECK   ecx, 0x3ffd, "its exponent"
        DONE
