/**
 * Questions to the other thread that wait for their answers, by number.
 */
import type { VmmError } from '../interfaces/index.js';

export interface Settling<Value> {
  readonly resolve: (value: Value) => void;
  readonly reject: (error: VmmError) => void;
}

export class PendingCalls {
  private readonly waiting = new Map<number, Settling<unknown>>();
  private lastId = 0;

  /** `changed` is called whenever one comes or goes. */
  constructor(private readonly changed: () => void) {}

  get any(): boolean {
    return this.waiting.size > 0;
  }

  /** `ask` sends the question with its number; where it throws, there is no question. */
  open<Value>(ask: (id: number) => void): Promise<Value> {
    const id = ++this.lastId;
    ask(id);
    return new Promise<Value>((resolve, reject) => {
      this.waiting.set(id, { resolve: resolve as (value: unknown) => void, reject });
      this.changed();
    });
  }

  resolve(id: number, value: unknown): void {
    this.take(id)?.resolve(value);
  }

  reject(id: number, error: VmmError): void {
    this.take(id)?.reject(error);
  }

  rejectAll(error: VmmError): void {
    const all = [...this.waiting.values()];
    this.waiting.clear();
    for (const { reject } of all) reject(error);
    this.changed();
  }

  private take(id: number): Settling<unknown> | undefined {
    const settling = this.waiting.get(id);
    this.waiting.delete(id);
    this.changed();
    return settling;
  }
}
