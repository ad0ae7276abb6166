# MSRs: those that the host answers, those that nobody has, what their values may be, and privilege.
#
# Source: AMD APM vol. 3, RDMSR, WRMSR; vol. 2, 3.1.7 (EFER) and appendix A; host.ts for 0xc0ffee.

.include "long.s"

_start: SETUP
        mov     ecx, USER_MSR
        EXIT    "msr read 0xc0ffee 0x1234567 0x89abcdef"
        mov     rax, -1
        mov     rdx, -1
        rdmsr
        CHECK   rax, 0x01234567, "RAX: zero-extended"
        CHECK   rdx, 0x89abcdef, "RDX: zero-extended"
        EXIT    "msr write 0xc0ffee 0x11223344 0x55667788"
        mov     rax, 0x9999999911223344
        mov     rdx, 0x9999999955667788
        wrmsr
        mov     rcx, 0xffffffff00c0ffee
        EXIT    "msr read 0xc0ffee 0x1234567 0x89abcdef"
        rdmsr
        CHECK   eax, 0x01234567, "the index is ECX alone"

        mov     ecx, 0x00bad000
        FAULT   13, 0, "RDMSR of an MSR that nobody has", rdmsr
        FAULT   13, 0, "WRMSR of it", wrmsr
        mov     ecx, USER_MSR
        USER_FAULT 13, 0, 2, "RDMSR at CPL 3", rdmsr

        # EFER: LME may not change under paging, reserved bits are refused.
        mov     ecx, 0xc0000080
        rdmsr
        and     eax, 0xd00
        CHECK   eax, 0x500, "EFER: LME, LMA"
        rdmsr
        and     eax, ~0x100
        FAULT   13, 0, "EFER.LME cleared under paging", wrmsr
        rdmsr
        or      eax, 2
        FAULT   13, 0, "a reserved bit of EFER", wrmsr

        # FS and GS base: canonical, 64 bits, used by addresses.
        mov     ecx, 0xc0000100
        mov     eax, 0x20000
        xor     edx, edx
        wrmsr
        mov     dword ptr [0x20010], 0x600df5
        mov     eax, fs:[0x10]
        CHECK   eax, 0x600df5, "FS base"
        mov     edx, 0x8000
        FAULT   13, 0, "a non-canonical FS base", wrmsr
        mov     edx, 0xffff8000
        mov     eax, 0
        wrmsr
        rdmsr
        CHECK   edx, 0xffff8000, "a negative base"
        mov     ecx, 0xc0000101
        mov     eax, 0x30000
        xor     edx, edx
        wrmsr
        mov     ecx, 0xc0000102
        mov     eax, 0x40000
        wrmsr
        mov     dword ptr [0x30000], 3
        mov     dword ptr [0x40000], 4
        swapgs
        mov     eax, gs:[0]
        CHECK   eax, 4, "GS after SWAPGS"
        mov     ecx, 0xc0000102
        rdmsr
        CHECK   eax, 0x30000, "KernelGSbase after SWAPGS"
        USER_FAULT 13, 0, 2, "SWAPGS at CPL 3", swapgs

        # Loading a selector gives the base of the descriptor; an MSR sees it.
        mov     ecx, 0xc0000101
        mov     dword ptr [GDT + OWN], 0x5678ffff
        mov     dword ptr [GDT + OWN + 4], 0x12cf9234
        mov     eax, OWN
        mov     gs, eax
        rdmsr
        CHECK   eax, 0x12345678, "GS base from a descriptor"
        CHECK   edx, 0, "its upper half"

        # PAT: types that do not exist are refused.
        mov     ecx, 0x277
        rdmsr
        CHECK   eax, 0x00070406, "PAT after reset: low"
        CHECK   edx, 0x00070406, "PAT after reset: high"
        mov     eax, 0x00070402
        FAULT   13, 0, "a reserved memory type", wrmsr
        DONE
