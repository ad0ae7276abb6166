/** All descriptions of MMX and SSE instructions. */
import './sse-approximate.js';
import './sse-convert.js';
import './sse-crypto.js';
import './sse-float.js';
import './sse-horizontal.js';
import './sse-integer.js';
import './sse-move.js';
import './sse-round.js';
import './sse4.js';
