/**
 * Exceptions of an extension's own, and events that it injects.
 */

/** An exception of the extension's own, e.g. #VC with its code, or #VE with an info record. */
export interface ExtensionException {
  /** 0 to 31. */
  readonly vector: number;
  /** Pushed on the handler's stack; null: none is. */
  readonly errorCode: number | null;
  /**
   * How it combines with an exception during its own delivery, or while it comes during another's
   * (AMD APM vol. 2, 8.2.9; Intel SDM vol. 3, table 6-5): two contributory ones make a double
   * fault, and so do two of which the first is a page fault and the second contributory or a page
   * fault. Default: what the vector has with AMD (29, #VC, and 30, #SX, are contributory), and
   * for vectors that AMD has no exception for, `benign`. It holds for the vector from then on;
   * those of the manual's own classes (#DE, #TS, #NP, #SS, #GP, #PF, #DF) keep theirs.
   */
  readonly class?: 'benign' | 'contributory' | 'page-fault';
  /** Stored by the extension before delivery, where its architecture has such a record. */
  readonly info?: Readonly<Record<string, number>>;
}

/** An event to be delivered before the next instruction. */
export interface InjectedEvent {
  /** 0 to 255; 2 for `nmi`. */
  readonly vector: number;
  /**
   * `interrupt`: from outside, the frame shows RIP as it stands. `nmi`: likewise, and NMIs are
   * blocked from then on. `exception`: a fault of the instruction at RIP. `software`: INT n that
   * has ended, so that RIP is what follows it; the gate's privilege is checked.
   */
  readonly type: 'interrupt' | 'nmi' | 'exception' | 'software';
  /** Pushed where not null; of exceptions only. */
  readonly errorCode: number | null;
}
