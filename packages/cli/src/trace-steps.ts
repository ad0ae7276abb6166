/**
 * From the records of an exit log to steps between three parties: the guest, the CPU, and the VMM.
 *
 * Without a world switch in the log every exit is a plain one: the CPU leaves the guest, the VMM
 * reads its registers, answers and enters again. Where an extension tells its switches, an exit of
 * the log lies between the one that left the guest and the one that entered it: it is what the VMM
 * did meanwhile.
 */
import type { TraceRecord } from './trace-record.js';

export type Party = 'guest' | 'cpu' | 'vmm';

export interface Step {
  readonly from: Party;
  /** The same as `from`: what a party does by itself. */
  readonly to: Party;
  readonly text: string;
  /** How an exchange began: by the CPU alone, by an exception, or by the guest itself. */
  readonly way?: 'exit' | 'exception';
  /** Ends an exchange: the guest goes on. */
  readonly entry?: true;
  readonly instructions: number;
  readonly vcpu: number;
}

/** Turns records into steps, in order; one for a whole log. */
export class Steps {
  /** vCPUs that are in the host's world. */
  readonly #outside = new Set<number>();
  /** vCPUs whose switches are told. */
  readonly #told = new Set<number>();

  of(record: TraceRecord): Step[] {
    const { instructions, vcpu } = record;
    const at = (step: Pick<Step, 'from' | 'to' | 'text' | 'way' | 'entry'>): Step => ({
      ...step,
      instructions,
      vcpu,
    });
    if (record.kind === 'switch') return this.#switch(record).map(at);
    const { cause, answer } = describe(record);
    const inside = { from: 'vmm', to: 'vmm', text: answer } as const;
    if (this.#outside.has(vcpu) || this.#told.has(vcpu)) return [at(inside)];
    return [
      at({ from: 'guest', to: 'cpu', text: cause, way: 'exit' }),
      at({ from: 'cpu', to: 'vmm', text: 'exit: registers are in the VMCB' }),
      at(inside),
      at({ from: 'vmm', to: 'cpu', text: 'enter, with results in registers' }),
      at({ from: 'cpu', to: 'guest', text: 'goes on', entry: true }),
    ];
  }

  #switch(record: TraceRecord): Pick<Step, 'from' | 'to' | 'text' | 'way' | 'entry'>[] {
    const { vcpu } = record;
    const name = record.text('name');
    const detail = record.text('detail');
    const described = detail === '' ? name : `${name}: ${detail}`;
    this.#told.add(vcpu);
    switch (record.text('step')) {
      case 'exception': {
        const text = `exception ${record.number('vector')}, code ${hex(record.number('code'))}`;
        return [
          { from: 'guest', to: 'cpu', text: described },
          { from: 'cpu', to: 'guest', text, way: 'exception' },
        ];
      }
      case 'exit':
        this.#outside.add(vcpu);
        return [
          { from: 'guest', to: 'cpu', text: described, way: 'exit' },
          { from: 'cpu', to: 'vmm', text: `exit ${hex(record.number('code'))}: no registers` },
        ];
      case 'request':
        return [{ from: 'vmm', to: 'vmm', text: `reads what the guest asks: ${described}` }];
      default: {
        this.#outside.delete(vcpu);
        const vector = record.number('vector');
        const text = vector > 0 ? `enter, injecting vector ${vector}` : 'enter';
        return [
          { from: 'vmm', to: 'cpu', text },
          { from: 'cpu', to: 'guest', text: 'goes on', entry: true },
        ];
      }
    }
  }
}

const hex = (value: number) => `0x${value.toString(16)}`;

/** What the guest did, and what the VMM did about it. */
function describe(record: TraceRecord): { readonly cause: string; readonly answer: string } {
  const { kind } = record;
  const direction = record.text('direction');
  switch (kind) {
    case 'io': {
      const many = record.number('count') > 1 ? ` ${record.number('count')} times` : '';
      const text = `${direction.toUpperCase()} port ${hex(record.number('port'))}`;
      const size = `${record.number('size')} byte${record.number('size') === 1 ? '' : 's'}`;
      return { cause: `${text}, ${size}${many}`, answer: `device: ${text}, ${size}${many}` };
    }
    case 'mmio': {
      const text = `${direction} ${hex(record.number('gpa'))}, ${record.number('size')} bytes`;
      return { cause: `MMIO ${text}`, answer: `device: ${text}` };
    }
    case 'msr': {
      const name = `${direction === 'read' ? 'RDMSR' : 'WRMSR'} ${hex(record.number('index'))}`;
      return { cause: name, answer: record.flag('fault') ? 'answers with a fault' : 'answers' };
    }
    case 'cpuid':
      return { cause: `CPUID ${hex(record.number('leaf'))}`, answer: 'answers' };
    case 'hypercall':
      return { cause: `hypercall ${record.number('number')}`, answer: 'answers' };
    case 'hlt':
      return { cause: 'HLT', answer: 'waits for an interrupt' };
    case 'shutdown':
      return { cause: record.text('reason'), answer: 'ends the machine' };
    case 'system-event':
      return { cause: record.text('event'), answer: `platform event: ${record.text('event')}` };
    default:
      return { cause: kind, answer: kind };
  }
}
