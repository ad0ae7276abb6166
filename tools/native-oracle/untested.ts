/**
 * The rows and operand sizes that are not compared natively, by reason: what a test expects
 * `nativeForms` to leave out, so that nothing is left out unseen.
 */
export const UNTESTED: Readonly<Record<string, readonly string[]>> = {
  'a different answer each time': [
    'RDRAND Rv (0f c7 /6)',
    'RDSEED Rv (0f c7 /7)',
    'RDTSC (0f 31)',
    'RDTSCP (0f 01 /7 rm 1)',
  ],
  "answers from the host's own tables and registers": [
    'CPUID (0f a2)',
    'RDFSBASE Ry (f3 0f ae /0)',
    'RDGSBASE Ry (f3 0f ae /1)',
    'RDPMC (0f 33)',
    'SGDT Mp (0f 01 /0)',
    'SIDT Mp (0f 01 /1)',
    'SLDT EvMw (0f 00 /0)',
    'SMSW EvMw (0f 01 /4)',
    'STR EvMw (0f 00 /1)',
    'XGETBV (0f 01 /2 rm 0)',
  ],
  'enters the host kernel': [
    'ICEBP (f1)',
    'INT Ib (cd)',
    'INT3 (cc)',
    'INTO (ce)',
    'SYSCALL (0f 05)',
    'SYSENTER (0f 34)',
    'VMMCALL (0f 01 /0 rm 1)',
    'VMMCALL (0f 01 /3 rm 1)',
  ],
  'the host process needs its FS and GS': [
    'LOADFAR Gv,Mp,fs (0f b4)',
    'LOADFAR Gv,Mp,gs (0f b5)',
    'POPSEG fs (0f a1)',
    'POPSEG gs (0f a9)',
    'WRFSBASE Ry (f3 0f ae /2)',
    'WRGSBASE Ry (f3 0f ae /3)',
  ],
  'the image is larger than the window of data': [
    'FXRSTOR Mp (0f ae /1)',
    'FXSAVE Mp (0f ae /0)',
    'XRSTOR Mp (0f ae /5)',
    'XSAVE Mp (0f ae /4)',
    'XSAVEOPT Mp (0f ae /6)',
  ],
  'the result is undefined': [
    'BSWAP Zv (0f c8) 16',
    'BSWAP Zv (0f c9) 16',
    'BSWAP Zv (0f ca) 16',
    'BSWAP Zv (0f cb) 16',
    'BSWAP Zv (0f cc) 16',
    'BSWAP Zv (0f cd) 16',
    'BSWAP Zv (0f ce) 16',
    'BSWAP Zv (0f cf) 16',
  ],
  'the vendors differ': [
    'CALLFI Mp (ff /3) 64',
    'JMPFI Mp (ff /5) 64',
    'LOADFAR Gv,Mp,ss (0f b2) 64',
  ],
  'what it waits for or leaves to depends on the host': [
    'MONITOR (0f 01 /1 rm 0)',
    'MWAIT (0f 01 /1 rm 1)',
    'SYSEXIT (0f 35)',
    'SYSRET (0f 07)',
  ],
};
