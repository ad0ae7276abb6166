/**
 * Errors on their way between threads: structured cloning keeps neither class nor code.
 *
 * A `VmmError` arrives as a `VmmError` with everything it said; any other error becomes one.
 * Several at once (a disposal that failed in places) arrive as the `cause` of one.
 */
import { isVmmError, VmmError, type VmmErrorCode } from '../interfaces/index.js';

export interface WireError {
  readonly code: VmmErrorCode;
  readonly message: string;
  readonly plugin?: string;
  readonly remedy?: string;
  readonly path?: string;
  /** Where it was thrown, in the other thread. */
  readonly stack?: string;
  readonly cause?: WireError;
  readonly errors?: readonly WireError[];
}

/** Causes of causes are followed this far. */
const DEPTH_MAX = 4;

/** `code` is for what is no `VmmError`. */
export function packError(error: unknown, code: VmmErrorCode = 'internal', depth = 0): WireError {
  const { cause, stack } = (error instanceof Error ? error : {}) as Partial<Error>;
  const deeper = depth < DEPTH_MAX;
  const inner = error instanceof AggregateError && deeper ? error.errors : [];
  return {
    code: isVmmError(error) ? error.code : code,
    message: messageOf(error),
    ...(isVmmError(error) ? wordsOf(error) : {}),
    ...(stack === undefined ? {} : { stack }),
    ...(cause === undefined || !deeper ? {} : { cause: packError(cause, code, depth + 1) }),
    ...(inner.length === 0
      ? {}
      : { errors: inner.map((each: unknown) => packError(each, code, depth + 1)) }),
  };
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function wordsOf({ plugin, remedy, path }: VmmError): Partial<WireError> {
  return {
    ...(plugin === undefined ? {} : { plugin }),
    ...(remedy === undefined ? {} : { remedy }),
    ...(path === undefined ? {} : { path }),
  };
}

export function unpackError(wire: WireError): VmmError {
  const { code, message, plugin, remedy, path, stack, cause, errors } = wire;
  const inner = errors?.map(unpackError);
  const error = new VmmError(code, message, {
    ...(plugin === undefined ? {} : { plugin }),
    ...(remedy === undefined ? {} : { remedy }),
    ...(path === undefined ? {} : { path }),
    ...(cause === undefined ? {} : { cause: unpackError(cause) }),
    ...(inner === undefined ? {} : { cause: new AggregateError(inner, message) }),
  });
  if (stack !== undefined) error.stack = stack;
  return error;
}
