/**
 * The one error type that a host program sees.
 *
 * Host misuse and bad files throw a `VmmError`; guest behaviour never throws (it is data: an exit,
 * a fault event, a counter). A bug in Cloister is an assertion failure, not a `VmmError`.
 */

/** Stable, documented codes; a caller may branch on them. */
export type VmmErrorCode =
  | 'invalid-argument'
  | 'invalid-config'
  | 'invalid-file'
  | 'invalid-state'
  | 'missing-capability'
  | 'unknown-plugin'
  | 'plugin-conflict'
  | 'plugin-failed'
  | 'version-mismatch'
  | 'out-of-memory'
  | 'unsupported'
  | 'unavailable'
  | 'protection-inactive'
  | 'snapshot-mismatch'
  | 'replay-diverged'
  | 'io-failed'
  | 'internal';

/** What a `VmmError` carries besides its message. */
export interface VmmErrorOptions {
  /** The plugin at fault, by its name. */
  readonly plugin?: string;
  /** What the caller can do about it, as a sentence. */
  readonly remedy?: string;
  /** The path of the wrong field, e.g. `disks[0].file`. */
  readonly path?: string;
  readonly cause?: unknown;
}

/** An error of the host's side: a code to branch on, a message of one line, and what to do. */
export class VmmError extends Error {
  static override readonly name: string = 'VmmError';
  readonly code: VmmErrorCode;
  readonly plugin: string | undefined;
  readonly remedy: string | undefined;
  readonly path: string | undefined;

  constructor(code: VmmErrorCode, message: string, options: VmmErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'VmmError';
    this.code = code;
    this.plugin = options.plugin;
    this.remedy = options.remedy;
    this.path = options.path;
  }

  /** One line: `code: [plugin: ][path: ]message (remedy)`. */
  describe(): string {
    const where = [this.plugin, this.path].filter((part) => part !== undefined);
    const head = [this.code, ...where].join(': ');
    return `${head}: ${this.message}${this.remedy === undefined ? '' : ` (${this.remedy})`}`;
  }
}

/** True for a `VmmError` of any copy of this package. */
export function isVmmError(error: unknown): error is VmmError {
  return error instanceof Error && error.name === 'VmmError' && 'code' in error;
}
