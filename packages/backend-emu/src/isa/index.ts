/** The instruction table and its descriptions, for tools: coverage, disassembly, fuzzers. */
import './semantics/alu.js';
import './semantics/bit.js';
import './semantics/bmi.js';
import './semantics/branch.js';
import './semantics/fast-calls.js';
import './semantics/flag.js';
import './semantics/interrupt-return.js';
import './semantics/fs-gs-base.js';
import './semantics/legacy.js';
import './semantics/move.js';
import './semantics/msr.js';
import './semantics/multiply.js';
import './semantics/protection-keys.js';
import './semantics/segment-limit.js';
import './semantics/shift.js';
import './semantics/sse.js';
import './semantics/stack.js';
import './semantics/string.js';
import './semantics/system.js';
import './semantics/time-stamp.js';
import './semantics/x87.js';
import './semantics/x87-control.js';

export { type Description, describe, describedMnemonics } from './define.js';
export { type Form, type FormOperand, formKey, type OperandKind } from './form.js';
export { allRows, OPCODE_MAPS, type OpcodeMaps, rowsOf } from './table/index.js';
export type { Entry, Row, RowFlag } from './table/row.js';
