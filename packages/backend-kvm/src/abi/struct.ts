/** The structs of this folder are core's. */
export {
  type FieldType,
  make,
  offsetOf,
  type Struct,
  StructView,
  struct,
} from '@cloister/core/abi';
