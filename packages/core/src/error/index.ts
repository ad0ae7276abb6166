/**
 * @cloister/core/error: `VmmError` alone, for threads that start fast and load nothing else of
 * core. The class is that of `@cloister/core`.
 */
export { VmmError, type VmmErrorCode } from '../interfaces/error.js';
