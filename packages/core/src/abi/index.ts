/**
 * `@cloister/core/abi`: structs as a C compiler lays them out, for whatever talks to the kernel or
 * to the secure processor.
 */
export {
  type Field,
  type FieldType,
  make,
  offsetOf,
  type Scalar,
  type Struct,
  StructView,
  struct,
} from './struct.js';
