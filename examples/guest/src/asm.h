/* What assembly and C both name. */
#pragma once

#define CODE32 0x08
#define DATA 0x10
#define CODE64 0x18

#define ENTRY_32 32
#define ENTRY_64 64
#define ENTRY_COMPAT 1

#define VECTOR_UD 6
#define VECTOR_GP 13
#define VECTOR_VC 29
#define VECTOR_TIMER 32
#define VECTORS 33

#define MSR_EFER 0xc0000080
#define MSR_GHCB 0xc0010130
#define MSR_SEV_STATUS 0xc0010131
#define CPUID_ENCRYPTION 0x8000001f

/* Requests of the GHCB MSR's protocol: bits 11:0 (GHCB specification, 2.3.1). */
#define GHCB_INFO_RESPONSE 0x001
#define GHCB_INFO_REQUEST 0x002
#define GHCB_CPUID_REQUEST 0x004
#define GHCB_CPUID_RESPONSE 0x005
#define GHCB_FEATURES_REQUEST 0x080
#define GHCB_TERMINATE 0x100

#define EXIT_CPUID 0x72
