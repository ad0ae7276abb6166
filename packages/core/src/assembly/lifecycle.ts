/**
 * What has to be undone, in reverse order, whatever fails on the way.
 */
type Disposer = () => void | Promise<void>;

export class Lifecycle {
  private readonly disposers: Disposer[] = [];
  private done: Promise<void> | null = null;

  /** `dispose` runs after everything that is registered later. */
  onDispose(dispose: Disposer): void {
    this.disposers.push(dispose);
  }

  /** Runs every disposer once; an `AggregateError` holds all that they threw. */
  dispose(): Promise<void> {
    this.done ??= this.run();
    return this.done;
  }

  private async run(): Promise<void> {
    const errors: unknown[] = [];
    for (let next = this.disposers.pop(); next !== undefined; next = this.disposers.pop()) {
      try {
        await next();
      } catch (error) {
        errors.push(error);
      }
    }
    if (errors.length > 0) {
      const first = errors[0] instanceof Error ? errors[0].message : String(errors[0]);
      throw new AggregateError(errors, `${errors.length} parts failed to shut down: ${first}`);
    }
  }
}
