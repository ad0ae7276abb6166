# Switching FPU and SSE state: CR0.TS, EM and MP, CR4.OSFXSR and OSXMMEXCPT, unmasked exceptions,
# FXSAVE and FXRSTOR.
#
# Source: AMD APM vol. 2, 11.3 and 11.4 (enabling, saving), 8.2.8 (#NM), 8.2.17 (#MF), 8.2.20 (#XF),
# table in 3.1.1 (MP, EM, TS); vol. 5 for FNINIT, FWAIT.

.include "long.s"

.macro CR0_BITS set=0, clear=0
        mov     rax, cr0
        or      eax, \set
        and     eax, ~(\clear)
        mov     cr0, rax
.endm

.macro CR4_BITS set=0, clear=0
        mov     rax, cr4
        or      eax, \set
        and     eax, ~(\clear)
        mov     cr4, rax
.endm

.set AREA, FREE                         # 512 bytes
.set OTHER, FREE + 0x200

_start: SETUP
        CR4_BITS 0x600
        # EM: x87 is #NM, SSE is #UD, FXSAVE #NM.
        CR0_BITS 4, 0xa
        FAULT   7, 0, "x87 with EM", fld1
        FAULT   6, 0, "SSE with EM", xorps xmm0, xmm0
        FAULT   6, 0, "MMX with EM", emms
        NOFAULT "WAIT with EM", fwait
        # TS.
        CR0_BITS 8, 6
        FAULT   7, 0, "x87 with TS", fld1
        FAULT   7, 0, "SSE with TS", xorps xmm0, xmm0
        FAULT   7, 0, "MMX with TS", emms
        FAULT   7, 0, "FXSAVE with TS", fxsave [AREA]
        FAULT   7, 0, "FNSTSW with TS", fnstsw ax
        NOFAULT "WAIT with TS, MP clear", fwait
        CR0_BITS 2
        FAULT   7, 0, "WAIT with TS and MP", fwait
        clts
        mov     rax, cr0
        and     eax, 8
        CHECK   eax, 0, "CLTS"
        NOFAULT "WAIT with MP alone", fwait
        # OSFXSR.
        CR4_BITS 0, 0x200
        FAULT   6, 0, "SSE without OSFXSR", xorps xmm0, xmm0
        FAULT   6, 0, "LDMXCSR without OSFXSR", ldmxcsr [mxcsr]
        NOFAULT "x87 without OSFXSR", fld1
        CR4_BITS 0x200

        # FNINIT.
        fninit
        fnstcw  [AREA]
        mov     ax, [AREA]
        CHECK   ax, 0x37f, "control word after FNINIT"
        fnstsw  ax
        CHECK   ax, 0, "status word after FNINIT"

        # A switch: the state of one task away, that of another in, and back.
        fld1
        fldpi
        mov     eax, 0x11111111
        movd    xmm7, eax
        mov     eax, 0x22222222
        movd    xmm15, eax
        ldmxcsr [mxcsr]
        fxsave64 [AREA]
        fninit
        fldz
        pxor    xmm7, xmm7
        pxor    xmm15, xmm15
        ldmxcsr [mxcsr_default]
        fxsave64 [OTHER]
        fxrstor64 [AREA]
        fnstsw  ax
        and     ax, 0x3800
        CHECK   ax, 0x3000, "TOP: two values"
        fstp    st(0)
        fistp   dword ptr [FREE + 0x400]
        mov     eax, [FREE + 0x400]
        CHECK   eax, 1, "ST(1)"
        movd    eax, xmm7
        CHECK   eax, 0x11111111, "XMM7"
        movd    eax, xmm15
        CHECK   eax, 0x22222222, "XMM15"
        stmxcsr [FREE + 0x400]
        mov     eax, [FREE + 0x400]
        CHECK   eax, 0x7f80, "MXCSR"
        movzx   eax, word ptr [AREA]
        CHECK   eax, 0x37f, "FCW in the image"
        movzx   eax, byte ptr [AREA + 4]
        CHECK   eax, 0xc0, "the abridged tag word of two values"
        mov     eax, [AREA + 24]
        CHECK   eax, 0x7f80, "MXCSR in the image"
        mov     rax, [AREA + 32]
        mov     rdx, 0xc90fdaa22168c235
        sub     rax, rdx
        CHECK   rax, 0, "pi in the image"
        movzx   eax, word ptr [OTHER + 32 + 8]
        CHECK   eax, 0, "0.0 in the other"

        # What FXRSTOR and LDMXCSR refuse.
        or      dword ptr [OTHER + 24], 0x10000
        FAULT   13, 0, "FXRSTOR of a reserved bit of MXCSR", fxrstor64 [OTHER]
        FAULT   13, 0, "LDMXCSR of a reserved bit", ldmxcsr [OTHER + 24]
        FAULT   13, 0, "FXSAVE to an unaligned area", fxsave [AREA + 8]

        # Unmasked x87: reported by the next one that waits, at that one.
        CR0_BITS 0x20
        fninit
        fldcw   [fcw_zero]
        fld1
        fldz
        fdivp
        FAULT   16, 0, "#MF at the next instruction", fld1
        fnclex
        NOFAULT "after FNCLEX", fld1
        fninit
        fldcw   [fcw_zero]
        fld1
        fldz
        fdivp
        FAULT   16, 0, "#MF at WAIT", fwait
        NOFAULT "FNSTSW does not wait", fnstsw ax
        fnclex

        # Unmasked SSE: #XM or, without OSXMMEXCPT, #UD.
        ldmxcsr [mxcsr_zero]
        mov     eax, 0x3f800000
        movd    xmm0, eax
        pxor    xmm1, xmm1
        FAULT   19, 0, "a division by zero", divss xmm0, xmm1
        movd    eax, xmm0
        CHECK   eax, 0x3f800000, "the destination is unchanged"
        stmxcsr [FREE + 0x400]
        mov     eax, [FREE + 0x400]
        CHECK   eax, 0x1d84, "ZE is set"
        ldmxcsr [mxcsr_zero]
        CR4_BITS 0, 0x400
        FAULT   6, 0, "without OSXMMEXCPT", divss xmm0, xmm1
        DONE

        .balign 4
mxcsr:  .long   0x7f80                  # rounds to zero, all masked
mxcsr_default:
        .long   0x1f80
mxcsr_zero:
        .long   0x1d80                  # ZM clear
fcw_zero:
        .word   0x37b                   # ZM clear
