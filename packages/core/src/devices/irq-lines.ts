/**
 * Interrupt lines by GSI: any number of drivers each, ORed, kept until a controller is connected.
 *
 * Lines carry no state of their own that needs saving: every device drives its lines again when it
 * is restored.
 */
import type { IrqLineOfGsi, IrqLines, IrqTarget } from '../interfaces/index.js';
import { VmmError } from '../interfaces/index.js';

/** GSIs beyond any controller that could exist: more is a mistake of the caller. */
const MAX_GSI = 1024;

class Gsi {
  private high = 0;

  constructor(
    readonly gsi: number,
    private readonly changed: (gsi: Gsi) => void,
  ) {}

  get level(): boolean {
    return this.high > 0;
  }

  driver(): IrqLineOfGsi {
    let mine = false;
    return {
      gsi: this.gsi,
      set: (level) => {
        if (level === mine) return;
        mine = level;
        const before = this.level;
        this.high += level ? 1 : -1;
        if (this.level !== before) this.changed(this);
      },
    };
  }
}

class Lines implements IrqLines {
  private readonly gsis = new Map<number, Gsi>();
  private target: IrqTarget | null = null;
  private held = 0;

  line(gsi: number): IrqLineOfGsi {
    if (!Number.isInteger(gsi) || gsi < 0 || gsi >= MAX_GSI) {
      throw new VmmError('invalid-argument', `there is no interrupt line ${gsi}`, {
        remedy: `name a GSI from 0 to ${MAX_GSI - 1}`,
      });
    }
    if (gsi === 2) {
      throw new VmmError('invalid-argument', 'line 2 belongs to the PIC cascade and the timer', {
        remedy: 'use another GSI',
      });
    }
    let entry = this.gsis.get(gsi);
    if (entry === undefined) {
      entry = new Gsi(gsi, (changed) => this.forward(changed));
      this.gsis.set(gsi, entry);
    }
    return entry.driver();
  }

  connect(target: IrqTarget): void {
    const { gsis = MAX_GSI } = target;
    for (const gsi of this.gsis.keys()) {
      if (gsi < gsis) continue;
      throw new VmmError('invalid-config', `the interrupt controller has no line ${gsi}`, {
        remedy: `give the device a GSI below ${gsis}`,
      });
    }
    this.target = target;
    for (const gsi of this.gsis.values()) if (gsi.level) this.forward(gsi);
  }

  hold(): void {
    this.held++;
  }

  release(): void {
    if (this.held > 0 && --this.held === 0) this.replay();
  }

  replay(): void {
    for (const gsi of this.gsis.values()) this.forward(gsi);
  }

  private forward(gsi: Gsi): void {
    if (this.held === 0) this.target?.setGsi(gsi.gsi, gsi.level);
  }
}

/** The lines of one VM. */
export function irqLines(): IrqLines {
  return new Lines();
}
