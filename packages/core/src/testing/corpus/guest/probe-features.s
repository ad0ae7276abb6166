# Leaves the processor's feature bits for the host, in the order of features.ts.
#
# Source: AMD APM vol. 3, CPUID and appendix E.

.include "long.s"

.set FEATURES, 0x700

_start: mov     eax, 1
        cpuid
        mov     [FEATURES], edx
        mov     [FEATURES + 4], ecx
        xor     eax, eax
        cpuid
        cmp     eax, 7
        jb      1f
        mov     eax, 7
        xor     ecx, ecx
        cpuid
        mov     [FEATURES + 8], ebx
        mov     [FEATURES + 12], ecx
1:      mov     eax, 0x80000001
        cpuid
        mov     [FEATURES + 16], edx
        mov     [FEATURES + 20], ecx
        DONE
