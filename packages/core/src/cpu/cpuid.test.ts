/** What CPUID says: identity, features, topology, KVM leaves; and that it never throws. */

import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { CpuidValue } from '../interfaces/index.js';
import { FEATURES, REQUIRES } from './features.js';
import { CPU_MODELS } from './models.js';
import { selectCpu, selectionText } from './selection.js';
import { CpuidTable } from './table.js';

const STATE = { cr4: 0, xcr0: 1, apicEnabled: true };

function query(leaf: number, subleaf = 0, cpus = 1, index = 0, text = '', state = STATE) {
  const table = new CpuidTable(selectCpu(text), { cpus, index, physicalBits: 46, extensions: [] });
  const out: CpuidValue = { eax: 1, ebx: 2, ecx: 3, edx: 4 };
  table.query(leaf, subleaf, state, out, null);
  return out;
}

function text(...words: number[]): string {
  const bytes = new Uint8Array(Uint32Array.from(words).buffer);
  return String.fromCharCode(...bytes);
}

describe('CPUID of cloister-v1', () => {
  it('names the vendor, the model and the brand', () => {
    const zero = query(0);
    expect(zero.eax).toBe(0x10);
    expect(text(zero.ebx, zero.edx, zero.ecx)).toBe('AuthenticAMD');
    const one = query(1);
    expect(one.eax).toBe(0x00a00f11);
    const brand = [2, 3, 4].map((leaf) => query(0x80000000 + leaf));
    const words = brand.flatMap(({ eax, ebx, ecx, edx }) => [eax, ebx, ecx, edx]);
    expect(text(...words).replace(/\0+$/, '')).toBe('Cloister Virtual CPU');
  });

  it('has what a 64-bit Linux insists on, and no AVX, MCE or MONITOR', () => {
    const one = query(1);
    // FPU PSE TSC MSR PAE CX8 APIC PGE MTRR CMOV PAT MMX FXSR SSE SSE2
    for (const bit of [0, 3, 4, 5, 6, 8, 9, 12, 13, 15, 16, 23, 24, 25, 26]) {
      expect((one.edx >>> bit) & 1, `1.edx bit ${bit}`).toBe(1);
    }
    for (const bit of [7, 14, 21, 22, 28]) expect((one.edx >>> bit) & 1).toBe(0);
    for (const bit of [21, 24, 30, 31]) expect((one.ecx >>> bit) & 1).toBe(1);
    for (const bit of [3, 5, 12, 27, 28]) expect((one.ecx >>> bit) & 1).toBe(0);
    const extended = query(0x80000001);
    for (const bit of [11, 20, 27, 29]) expect((extended.edx >>> bit) & 1).toBe(1);
    expect(extended.edx & 0x0183f3ff).toBe(one.edx & 0x0183f3ff);
    expect(extended.eax).toBe(one.eax);
    expect(query(0x80000007).edx).toBe(1 << 8);
    expect(query(0x80000008).eax).toBe(46 | (48 << 8));
  });

  it('states the immunities that spare Linux its mitigations', () => {
    expect((query(0x80000008).ebx >>> 29) & 1).toBe(1); // BTC_NO
    expect((query(0x80000008).ebx >>> 26) & 1).toBe(1); // SSB_NO
    const security = query(0x80000021);
    expect((security.eax >>> 8) & 1).toBe(1); // AutoIBRS
    expect((security.eax >>> 29) & 1).toBe(1); // SRSO_NO
    expect(security.ecx & 6).toBe(6); // TSA_SQ_NO, TSA_L1_NO
  });

  it('offers the KVM interfaces', () => {
    const base = query(0x40000000);
    expect(base.eax).toBe(0x40000010);
    expect(text(base.ebx, base.ecx, base.edx)).toBe('KVMKVMKVM\0\0\0');
    expect(query(0x40000001).eax).toBe((1 << 24) | (1 << 6) | (1 << 3) | (1 << 1) | 1);
    expect(query(0x40000010)).toEqual({ eax: 1_000_000, ebx: 1_000_000, ecx: 0, edx: 0 });
    const bare = '-kvmclock,-kvmclock2,-kvm_pv_eoi,-hypervisor';
    expect(query(0x40000000, 0, 1, 0, `,${bare}`)).toEqual({ eax: 0, ebx: 0, ecx: 0, edx: 0 });
  });

  it('answers zeros out of range, as AMD does', () => {
    const none = { eax: 0, ebx: 0, ecx: 0, edx: 0 };
    for (const leaf of [
      2, 4, 5, 0x11, 0x7fffffff, 0x80000022, 0x8000000a, 0xc0000000, 0x40000100,
    ]) {
      expect(query(leaf), leaf.toString(16)).toEqual(none);
    }
    expect(query(7, 1)).toEqual(none);
    expect(query(0xd, 0, 1, 0, ',-pku,-xsaveopt,-xsavec,-xgetbv1,-xsave')).toEqual(none);
  });

  it('describes one package of single-threaded cores', () => {
    expect(query(1, 0, 6, 5).ebx).toBe(0x05060800);
    expect((query(1, 0, 6, 5).edx >>> 28) & 1).toBe(1);
    expect(query(0x80000001, 0, 6, 5).ecx & 2).toBe(2);
    expect(query(0xb, 0, 6, 5)).toEqual({ eax: 0, ebx: 1, ecx: 0x100, edx: 5 });
    expect(query(0xb, 1, 6, 5)).toEqual({ eax: 3, ebx: 6, ecx: 0x201, edx: 5 });
    expect(query(0xb, 2, 6, 5)).toEqual({ eax: 0, ebx: 0, ecx: 2, edx: 5 });
    expect(query(0x80000008, 0, 6).ecx).toBe(5 | (3 << 12));
    expect(query(0x8000001e, 0, 6, 5)).toEqual({ eax: 5, ebx: 5, ecx: 0, edx: 0 });
  });

  it('describes its caches twice alike', () => {
    const size = ({ ebx, ecx }: CpuidValue) =>
      ((ebx >>> 22) + 1) * (((ebx >>> 12) & 0x3ff) + 1) * ((ebx & 0xfff) + 1) * (ecx + 1);
    expect([0, 1, 2, 3].map((sub) => size(query(0x8000001d, sub)) / 1024)).toEqual([
      32, 32, 512, 32768,
    ]);
    expect(query(0x8000001d, 4).eax).toBe(0);
    expect(query(0x8000001d, 3, 4).eax).toBe((3 | (3 << 5) | (1 << 8) | (3 << 14)) >>> 0);
    expect(query(0x80000005).ecx).toBe(0x20080140);
    expect(query(0x80000006)).toEqual({ eax: 0, ebx: 0, ecx: 0x02006140, edx: 0x01008140 });
  });

  it('describes the area of XSAVE', () => {
    expect(query(0xd, 0, 1, 0, ',-pku')).toEqual({ eax: 3, ebx: 576, ecx: 576, edx: 0 });
    expect(query(0xd, 1, 1, 0, ',-pku')).toEqual({ eax: 7, ebx: 576, ecx: 0, edx: 0 });
    expect(query(0xd, 9, 1, 0, ',-pku')).toEqual({ eax: 0, ebx: 0, ecx: 0, edx: 0 });
    const state = { ...STATE, xcr0: 0x203 };
    const size = { ebx: 2440, ecx: 2440, edx: 0 };
    expect(query(0xd, 0, 1, 0, '', state)).toEqual({ eax: 0x203, ...size });
    expect(query(0xd, 1, 1, 0, '', state).ebx).toBe(584);
    expect(query(0xd, 9)).toEqual({ eax: 8, ebx: 2432, ecx: 0, edx: 0 });
  });

  it('follows the state of the vCPU', () => {
    const off = query(1, 0, 1, 0, '', { ...STATE, apicEnabled: false });
    expect((off.edx >>> 9) & 1).toBe(0);
  });

  it('lets extensions have the last word', () => {
    const extension = {
      name: 'test',
      cpuid: (leaf: number, _sub: number, value: CpuidValue) => {
        if (leaf === 0x8000001f) value.eax = 2;
      },
    };
    const options = { cpus: 1, index: 0, physicalBits: 46, extensions: [extension] };
    const table = new CpuidTable(selectCpu(), options);
    const out = { eax: 0, ebx: 0, ecx: 0, edx: 0 };
    table.query(0x8000001f, 0, STATE, out, {} as never);
    expect(out.eax).toBe(2);
  });

  it('never throws and gives 32-bit words', () => {
    fc.assert(
      fc.property(fc.nat(0xffffffff), fc.nat(0xffffffff), (leaf, subleaf) => {
        const out = query(leaf, subleaf, 255, 254);
        for (const word of Object.values(out)) expect(word >>> 0).toBe(word);
      }),
    );
  });
});

describe('the selection of a CPU', () => {
  it('adds and removes features', () => {
    expect((query(1, 0, 1, 0, 'cloister-v1,-rdrand').ecx >>> 30) & 1).toBe(0);
    expect((query(0x80000008, 0, 1, 0, ',+ibpb').ebx >>> 12) & 1).toBe(1);
  });

  it.each([
    ['486', /unknown CPU model "486"/],
    [',+warp', /unknown CPU feature "warp"/],
    [',rdrand', /no change/],
    [',-sse', /"sse2" needs "sse"/],
    [',+vme', /not implemented/],
  ])('refuses %j', (words, message) => {
    expect(() => selectCpu(words)).toThrow(message);
  });

  it('is told by the shortest text', () => {
    for (const text of ['cloister-v1', 'cloister-v1-rome,+ibrs,+la57,-rdrand,-smap']) {
      const { model, features } = selectCpu(text);
      const again = selectionText(model, features);
      expect(selectCpu(again).features).toEqual(features);
      expect(again.split(',').sort()).toEqual(text.split(',').sort());
    }
    expect(selectionText(selectCpu(',+la57').model, selectCpu('').features)).toBe('cloister-v1');
  });

  it('names what there is when it knows a word not', () => {
    const remedy = (text: string) => {
      try {
        selectCpu(text);
      } catch (error) {
        return (error as { remedy?: string }).remedy ?? '';
      }
      return 'taken';
    };
    expect(remedy('486')).toBe(`known models: ${[...CPU_MODELS.keys()].join(', ')}`);
    expect(remedy(',+warp').split(' ')).toEqual(expect.arrayContaining(['smap', 'la57']));
    expect(remedy(',-pcid')).toBe('add -invpcid or +pcid');
  });

  it('has rules about features that exist', () => {
    for (const [feature, needed] of Object.entries(REQUIRES)) {
      for (const name of [feature, ...needed]) expect(FEATURES.has(name), name).toBe(true);
    }
  });

  it('states where the C-bit would be, and no encryption', () => {
    expect(query(0x8000001f)).toEqual({ eax: 0, ebx: 51 | (5 << 6), ecx: 0, edx: 0 });
  });

  it('knows every feature of every model', () => {
    for (const model of CPU_MODELS.values()) {
      for (const feature of model.features) expect(FEATURES.has(feature), feature).toBe(true);
      expect(model.brand.length).toBeLessThan(48);
      expect(model.vendor).toHaveLength(12);
    }
  });
});
