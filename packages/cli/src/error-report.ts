/**
 * Errors as lines for standard error: one line each, the stack only on request.
 */
import { isVmmError, VmmError } from '@cloister/core';

const oneLine = (text: string): string => text.trim().replace(/\s*\n\s*/g, ' ');

function describe(error: unknown): string {
  // Another copy of core may have made the error: its class is not ours, its shape is.
  if (isVmmError(error)) return VmmError.prototype.describe.call(withoutEcho(error));
  if (error instanceof Error) return `internal: ${error.name}: ${error.message}`;
  return `internal: ${String(error)}`;
}

/** Some messages begin with the path that is printed before them anyway. */
function withoutEcho(error: VmmError): VmmError {
  const { code, message, path, plugin, remedy } = error;
  if (path === undefined || !message.startsWith(`${path}: `)) return error;
  return new VmmError(code, message.slice(path.length + 2), {
    path,
    ...(plugin === undefined ? {} : { plugin }),
    ...(remedy === undefined ? {} : { remedy }),
  });
}

/** Every error in an aggregate, flattened, in order. */
export function flatten(error: unknown): readonly unknown[] {
  return error instanceof AggregateError ? error.errors.flatMap(flatten) : [error];
}

/** The lines to print for `error`, without a newline at their ends. */
export function errorLines(error: unknown, options: { readonly debug: boolean }): string[] {
  return flatten(error).flatMap((each) => {
    const lines = [`cloister: ${oneLine(describe(each))}`];
    if (options.debug) lines.push(...stackLines(each));
    return lines;
  });
}

function stackLines(error: unknown): string[] {
  if (!(error instanceof Error)) return [];
  const own = (error.stack ?? '').split('\n').filter((line) => /^\s+at /.test(line));
  if (error.cause === undefined) return own;
  return [...own, `  caused by: ${oneLine(describe(error.cause))}`, ...stackLines(error.cause)];
}

/** Wraps what Node threw for a file into an error that names the file and what it was for. */
export function fileError(what: string, path: string, cause: unknown): VmmError {
  const code = (cause as { code?: unknown }).code;
  const reason = REASONS[String(code)] ?? (cause instanceof Error ? cause.message : String(cause));
  return new VmmError('invalid-file', `${what} ${JSON.stringify(path)}: ${reason}`, { cause });
}

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'no such file',
  EEXIST: 'is there already',
  EISDIR: 'is a directory',
  EACCES: 'permission denied',
  ENOTDIR: 'a part of the path is not a directory',
  ENOSPC: 'no space left on the device',
  EROFS: 'read-only file system',
};
