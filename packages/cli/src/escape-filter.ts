/**
 * The escape key of the serial terminal: Ctrl-A, then a letter. Everything else passes through.
 */

const CTRL_A = 0x01;

export type EscapeAction = 'quit' | 'save' | 'help';

export type EscapeEvent =
  | { readonly kind: 'data'; readonly bytes: Uint8Array }
  | { readonly kind: EscapeAction };

export const ESCAPE_HELP = [
  'Ctrl-A x       end the run',
  'Ctrl-A s       save the VM (with --save)',
  'Ctrl-A h       this help',
  'Ctrl-A Ctrl-A  send Ctrl-A to the guest',
] as const;

const ACTIONS: ReadonlyMap<number, EscapeAction> = new Map([
  [0x78, 'quit'],
  [0x58, 'quit'],
  [0x73, 'save'],
  [0x68, 'help'],
  [0x3f, 'help'],
]);

/** Splits typed bytes into what the guest gets and what the terminal was asked for. */
export class EscapeFilter {
  #escaped = false;

  feed(input: Uint8Array): EscapeEvent[] {
    const events: EscapeEvent[] = [];
    let pending: number[] = [];
    const flush = () => {
      if (pending.length > 0) events.push({ kind: 'data', bytes: Uint8Array.from(pending) });
      pending = [];
    };
    for (const byte of input) {
      if (!this.#escaped) {
        if (byte === CTRL_A) this.#escaped = true;
        else pending.push(byte);
        continue;
      }
      this.#escaped = false;
      const action = ACTIONS.get(byte);
      if (action !== undefined) {
        flush();
        events.push({ kind: action });
      } else if (byte === CTRL_A) {
        pending.push(byte);
      }
      // Any other letter after the escape key is dropped, as a mistyped command.
    }
    flush();
    return events;
  }
}
