# What the programs have in common that run random bytes, which the host put at FREE: where to go
# next. Whatever the bytes raise, the handler begins anew somewhere else, at CPL 3 or CPL 0 as a
# random number says; a timer ends loops. A run ends when the bytes destroyed something vital.

.set SEED, 0x700
.set LENGTH_MASK, 0xffff
.set APIC, 0xfee00000

# The next random number in EAX; changes nothing else but flags.
.macro RANDOM
        mov     eax, ds:[SEED]
        imul    eax, eax, 1103515245
        add     eax, 12345
        mov     ds:[SEED], eax
        ror     eax, 13
.endm
