/**
 * Guest memory as the host may see it: private memory reads as ciphertext, device DMA sees the
 * shared view. It copies and never hands out the buffer.
 *
 * Addresses are guest-physical (GPA). An access that is not wholly backed by slots throws
 * `VmmError('invalid-argument')` in the host API and returns false in `tryRead`/`tryWrite`, which
 * devices use for addresses that the guest chose.
 */
export interface MemorySlot {
  readonly id: number;
  readonly gpa: number;
  /** Bytes, a multiple of 4096. */
  readonly size: number;
  /** A guest write to a read-only slot leaves the guest as an MMIO write. */
  readonly readOnly: boolean;
  /** `ram`, `rom`, or what the plugin calls it; shown in summaries. */
  readonly name: string;
  /** Whether pages of the slot may be private. */
  readonly encryptable: boolean;
}

/** Guest-physical bytes `[gpa, gpa + length)`. */
export interface GuestRange {
  readonly gpa: number;
  readonly length: number;
}

export interface GuestMemory {
  /** Slots in ascending order of `gpa`. */
  readonly slots: readonly MemorySlot[];
  /** Sum of the sizes of all slots that are not read-only, in bytes. */
  readonly ramSize: number;
  /** Copies guest bytes to `target`. Private pages give ciphertext. */
  read(gpa: number, target: Uint8Array): void;
  /** Copies `source` to the guest, drops predecoded code of those pages, marks them dirty. */
  write(gpa: number, source: Uint8Array): void;
  /** As `read`, but false instead of an error when a byte is not backed. */
  tryRead(gpa: number, target: Uint8Array): boolean;
  /** As `write`, but false (nothing written) when a byte is not backed by writable memory. */
  tryWrite(gpa: number, source: Uint8Array): boolean;
  fill(gpa: number, length: number, byte: number): void;
  /** First address at or after `gpa` where `needle` occurs within `length` bytes, or -1. */
  scan(gpa: number, length: number, needle: Uint8Array): number;
  /**
   * Lends page-split spans of `[gpa, gpa+length)`, valid only inside `fn`, in ascending order.
   * Bytes written to a span reach the guest when `fn` returns, if `access` is `write`.
   */
  withSpan(
    gpa: number,
    length: number,
    access: 'read' | 'write',
    fn: (span: Uint8Array, gpa: number) => void,
  ): void;
  /**
   * Lends the bytes of several ranges themselves, in order: for one call of the host that fills or
   * reads them all. Valid only inside `fn`; those for `read` are not to be written. False, and `fn`
   * is not called, where a byte is not backed, or is kept under a key: copy then.
   */
  withSpans(
    ranges: readonly GuestRange[],
    access: 'read' | 'write',
    fn: (spans: readonly Uint8Array[]) => void,
  ): boolean;
  /** True when every byte of the range is backed, for `write` by memory that is not read-only. */
  covers(gpa: number, length: number, access?: 'read' | 'write'): boolean;
  /** Turns pages private or shared; contents become unpredictable, as on hardware. */
  convert(gpa: number, length: number, to: 'private' | 'shared'): void;
  /** Gives pages back to the host; they read as zeros afterwards. */
  discard(gpa: number, length: number): void;
  /** Page numbers (GPA / 4096) written since the last call, ascending; clears the log. */
  takeDirty(): Uint32Array;
}

/**
 * The system-physical memory that a backend keeps; `GuestMemory` is built over it by
 * `slotMemory()`.
 */
export interface MemoryBacking {
  /** All system-physical bytes. Never detached while the VM lives. */
  readonly bytes: Uint8Array;
  /** Offset in `bytes` of the 4 KiB frame that backs the page of `gpa`, or -1. */
  locate(gpa: number): number;
  /** Called after the host wrote `length` bytes at `offset` in `bytes` (within one frame). */
  written(offset: number, length: number): void;
  /**
   * The host's view of a frame that is kept under a key: a ciphertext copy of 4096 bytes, or null
   * where the frame is plain (then the bytes themselves are the view).
   */
  ciphertext(offset: number): Uint8Array | null;
  /** Stores a frame given as ciphertext; only called where `ciphertext` gave a copy. */
  storeCiphertext(offset: number, frame: Uint8Array): void;
  convert(gpa: number, length: number, to: 'private' | 'shared'): void;
  /**
   * Gives whole plain frames back to the host's system; they read as zeros then. Without it, or
   * where it answers false, they are filled with zeros.
   */
  free?(offset: number, length: number): boolean;
  /** Takes and clears the dirty log, as `GuestMemory.takeDirty`. */
  takeDirty(): Uint32Array;
}

/** What a DMA-capable device sees: the shared view, and no error but `false`. */
export interface DmaView {
  /** Whether it reaches only what the guest shares: memory is encrypted. False unless given. */
  readonly restricted?: boolean;
  read(gpa: number, target: Uint8Array): boolean;
  write(gpa: number, source: Uint8Array): boolean;
  /** Whether every byte of the range can be read (`read`) or also written (`write`). */
  covers(gpa: number, length: number, access: 'read' | 'write'): boolean;
  /** As `GuestMemory.withSpans`; what lacks it is copied to and from. */
  withSpans?(
    ranges: readonly GuestRange[],
    access: 'read' | 'write',
    fn: (spans: readonly Uint8Array[]) => void,
  ): boolean;
}
