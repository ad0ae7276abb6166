/** All descriptions of MMX and SSE instructions. */
import './sse-integer.js';
import './sse-move.js';
