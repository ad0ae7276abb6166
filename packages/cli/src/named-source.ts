/**
 * How the source of an option reads paths and calls the option: for options with a syntax of their
 * own.
 */
export interface NamedSource {
  readonly code: 'invalid-argument' | 'invalid-config';
  /** The option's name, for errors. */
  readonly name: string;
  resolvePath(path: string): string;
}
