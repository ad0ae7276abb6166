/**
 * RxJS streams that cannot hurt the VM: what a subscriber throws becomes a report.
 *
 * RxJS reports a throwing subscriber as an uncaught exception of the process (rxjs 7,
 * `reportUnhandledError`). Here `subscribe` wraps the subscriber's functions, and `lift` hands the
 * guard on to what `pipe` makes. Not covered: operators that build their result from scratch
 * (`merge(events.a, events.b)`); there RxJS's own rule holds.
 */
import type { Observer, Operator, Subscription, TeardownLogic } from 'rxjs';
// The whole of RxJS is two hundred files, which a process would read at its start.
import { Observable } from 'rxjs/internal/Observable';
import { Subject } from 'rxjs/internal/Subject';
import { Subscriber } from 'rxjs/internal/Subscriber';

/** Takes what a subscriber threw; `count` says how often this subscriber has thrown. */
export type FaultReport = (error: unknown) => void;

/** True for 1, 2, 4, 8 …: a subscriber that always throws is reported a bounded number of times. */
function isPowerOfTwo(count: number): boolean {
  return (count & (count - 1)) === 0;
}

class GuardedObservable<T> extends Observable<T> {
  constructor(
    private readonly report: FaultReport,
    subscribe?: (subscriber: Subscriber<T>) => TeardownLogic,
  ) {
    super(subscribe as ConstructorParameters<typeof Observable<T>>[0]);
  }

  override lift<R>(operator?: Operator<T, R>): Observable<R> {
    const lifted = new GuardedObservable<R>(this.report);
    (lifted as { source: Observable<unknown> | undefined }).source = this;
    if (operator !== undefined) {
      (lifted as unknown as { operator: Operator<T, R> }).operator = operator;
    }
    return lifted;
  }

  override subscribe(
    observer?: Partial<Observer<T>> | ((value: T) => void) | null,
    error?: ((error: unknown) => void) | null,
    complete?: (() => void) | null,
  ): Subscription {
    // An operator of RxJS's own: what it wraps is guarded at the end of the pipe.
    if (observer instanceof Subscriber) return super.subscribe(observer);
    const given: Partial<Observer<T>> =
      typeof observer === 'function' || observer === null || observer === undefined
        ? {
            ...(observer ? { next: observer } : {}),
            ...(error ? { error } : {}),
            ...(complete ? { complete } : {}),
          }
        : observer;
    return super.subscribe(this.guard(given));
  }

  private guard(observer: Partial<Observer<T>>): Observer<T> {
    let thrown = 0;
    const attempt = (action: () => void): void => {
      try {
        action();
      } catch (error) {
        if (isPowerOfTwo(++thrown)) this.report(error);
      }
    };
    return {
      next: (value) => attempt(() => observer.next?.(value)),
      error: (error: unknown) =>
        attempt(() => {
          if (observer.error === undefined) throw error;
          observer.error(error);
        }),
      complete: () => attempt(() => observer.complete?.()),
    };
  }
}

/** A subject whose observers are guarded. */
export class GuardedStream<T> {
  private readonly subject = new Subject<T>();
  /** Whether anybody listens: what is expensive to make is made only then. Asked at every exit. */
  observed = false;

  next(value: T): void {
    if (this.observed) this.subject.next(value);
  }

  complete(): void {
    this.subject.complete();
    this.observed = false;
  }

  /** The stream for others; `report` takes what their subscribers throw. */
  observable(report: FaultReport): Observable<T> {
    return new GuardedObservable<T>(report, (subscriber) => {
      const subscription = this.subject.subscribe(subscriber);
      this.observed = this.subject.observed;
      return () => {
        subscription.unsubscribe();
        this.observed = this.subject.observed;
      };
    });
  }
}
