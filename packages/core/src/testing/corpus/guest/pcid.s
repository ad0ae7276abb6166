# Process-context identifiers: each keeps its own translations, whether CR3's bit 63 asks to keep
# them or not; INVPCID of every type; what CR3 and CR4 refuse.
#
# Source: AMD APM vol. 2, 5.5.1 (process-context identifiers); vol. 3, INVPCID.

.include "long.s"

.set ROOT_A, FREE               # two sets of tables that differ in the page at PLACE
.set ROOT_B, FREE + 0x1000
.set TABLES_A, FREE + 0x2000    # three pages each
.set TABLES_B, FREE + 0x5000
.set PAGE_A, FREE + 0x8000
.set PAGE_B, FREE + 0x9000
.set PLACE, 0x8000000000
.set DESCRIPTOR, FREE + 0xa000
.set SHARED, TABLES + 0x1000    # the program's own part, as the host has made it
.set CR4_PGE, 1 << 7
.set CR4_PCIDE, 1 << 17

# Sets of tables: the program, and PLACE on a page.
.macro MAP root, tables, page
        mov     qword ptr [\root], SHARED + 7
        mov     qword ptr [\root + 8], \tables + 7
        mov     qword ptr [\tables], \tables + 0x1007
        mov     qword ptr [\tables + 0x1000], \tables + 0x2007
        mov     qword ptr [\tables + 0x2000], \page + 3
.endm

# Makes a root current under a PCID, keeping what is cached.
.macro KEEPING root, pcid
        mov     rax, 0x8000000000000000 + \root + \pcid
        mov     cr3, rax
.endm

.macro INVALIDATE type, pcid
        mov     qword ptr [DESCRIPTOR], \pcid
        mov     [DESCRIPTOR + 8], rbx
        mov     ecx, \type
        invpcid rcx, [DESCRIPTOR]
.endm

.macro SEES value, what:req
        mov     eax, [rbx]
        CHECK   eax, \value, "\what"
.endm

_start: SETUP
        MAP     ROOT_A, TABLES_A, PAGE_A
        MAP     ROOT_B, TABLES_B, PAGE_B
        mov     dword ptr [PAGE_A], 0xaaaa
        mov     dword ptr [PAGE_B], 0xbbbb
        mov     rbx, PLACE

        mov     rax, 0x8000000000000000 + ROOT_A
        FAULT   13, 0, "bit 63 of CR3 without PCIDs", mov cr3, rax
        mov     eax, ROOT_A + 0x18
        mov     cr3, rax
        mov     rdx, cr4
        mov     rbp, rdx
        or      rdx, CR4_PCIDE
        FAULT   13, 0, "PCIDE while CR3 has low bits", mov cr4, rdx
        mov     eax, ROOT_A
        mov     cr3, rax
        NOFAULT "PCIDE from PCID 0", mov cr4, rdx

        KEEPING ROOT_A, 1
        SEES    0xaaaa, "PCID 1"
        KEEPING ROOT_B, 2
        SEES    0xbbbb, "PCID 2, keeping"
        KEEPING ROOT_A, 1
        SEES    0xaaaa, "PCID 1 again, keeping"
        mov     rax, cr3
        CHECK   rax, ROOT_A + 1, "CR3 reads without bit 63"
        mov     eax, ROOT_B + 2
        mov     cr3, rax
        SEES    0xbbbb, "PCID 2, dropping"

        # What was changed in memory is seen once INVPCID has named it.
        mov     qword ptr [TABLES_A + 0x2000], PAGE_B + 3
        INVALIDATE 0, 1
        KEEPING ROOT_A, 1
        SEES    0xbbbb, "one address of another PCID"
        mov     qword ptr [TABLES_A + 0x2000], PAGE_A + 3
        INVALIDATE 0, 1
        SEES    0xaaaa, "one address of this PCID"
        mov     qword ptr [TABLES_B + 0x2000], PAGE_A + 3
        INVALIDATE 1, 2
        KEEPING ROOT_B, 2
        SEES    0xaaaa, "another PCID as a whole"
        mov     qword ptr [TABLES_B + 0x2000], PAGE_B + 3
        INVALIDATE 3, 0
        SEES    0xbbbb, "all PCIDs"
        mov     rax, cr4
        or      rax, CR4_PGE
        mov     cr4, rax
        mov     qword ptr [TABLES_B + 0x2000], PAGE_B + 0x103
        INVALIDATE 2, 0
        SEES    0xbbbb, "a global page"
        mov     qword ptr [TABLES_B + 0x2000], PAGE_A + 0x103
        INVALIDATE 2, 0
        SEES    0xaaaa, "all PCIDs and global pages"

        mov     qword ptr [DESCRIPTOR], 0
        mov     ecx, 4
        FAULT   13, 0, "INVPCID of type 4", invpcid rcx, [DESCRIPTOR]
        mov     ecx, 1
        mov     qword ptr [DESCRIPTOR], 0x1000
        FAULT   13, 0, "INVPCID of a PCID beyond 12 bits", invpcid rcx, [DESCRIPTOR]
        xor     ecx, ecx
        mov     rax, 0x0100000000000000
        mov     qword ptr [DESCRIPTOR], 2
        mov     [DESCRIPTOR + 8], rax
        FAULT   13, 0, "INVPCID of a non-canonical address", invpcid rcx, [DESCRIPTOR]

        NOFAULT "PCIDE off under a PCID", mov cr4, rbp
        mov     ecx, 1
        FAULT   13, 0, "INVPCID of PCID 2 without PCIDs", invpcid rcx, [DESCRIPTOR]
        DONE
