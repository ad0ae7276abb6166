/**
 * What the trusted memory region is for: a record of each VMSA, which only the firmware and the
 * processor write. The firmware enters a VMSA when it is launched or received and compares one that
 * it sends; the processor renews the record at each #VMEXIT and compares at VMRUN.
 *
 * Source: SEV API 55766, 2.1.5 "Trusted memory region"; AMD64 APM 24593, 15.35.8. Inaccuracy: real
 * records are checksums, of the first FC0h bytes, and as many as the region holds. These are the
 * bytes that a VMSA uses, and there is room for all.
 */

/** Bytes of a VMSA that are recorded unless the processor says otherwise. */
const RECORDED = 0xfc0;

interface VmsaRecord {
  /** The guest's handle, 0 where no VMSA is. */
  owner: number;
  bytes: Uint8Array;
}

export class VmsaRecords {
  readonly #records = new Map<number, VmsaRecord>();

  /** The processor keeps the record of `spa` in these bytes of its own, which begin a VMSA. */
  keepIn(spa: number, bytes: Uint8Array): void {
    this.#records.set(spa, { owner: 0, bytes });
  }

  /** A VMSA of the guest `owner` lies at `spa` now, and `content` is what VMRUN is to find. */
  enter(owner: number, spa: number, content: Uint8Array): void {
    let record = this.#records.get(spa);
    if (record === undefined) {
      record = { owner, bytes: new Uint8Array(RECORDED) };
      this.#records.set(spa, record);
    }
    record.owner = owner;
    record.bytes.set(content.subarray(0, record.bytes.length));
  }

  /** Whether a VMSA of `owner` lies at `spa`, as the processor or the firmware has left it. */
  vouches(owner: number, spa: number, content: Uint8Array): boolean {
    const record = this.#records.get(spa);
    if (record === undefined || record.owner !== owner) return false;
    return record.bytes.every((byte, at) => byte === content[at]);
  }

  /** The guest is no more. */
  forget(owner: number): void {
    for (const record of this.#records.values()) {
      if (record.owner !== owner) continue;
      record.owner = 0;
      record.bytes.fill(0);
    }
  }
}
