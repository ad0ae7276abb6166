/**
 * Packets of the virtio socket device: a header of 44 bytes, then data.
 *
 * Source: virtio 1.2, 5.10.6 (device operation). All fields are little-endian.
 */

export const VSOCK_HEADER = 44;

export const TYPE_STREAM = 1;

/** Operations (5.10.6). */
export const OP_REQUEST = 1;
export const OP_RESPONSE = 2;
export const OP_RST = 3;
export const OP_SHUTDOWN = 4;
export const OP_RW = 5;
export const OP_CREDIT_UPDATE = 6;
export const OP_CREDIT_REQUEST = 7;

/** Flags of OP_SHUTDOWN: who sends it receives, or sends, nothing more. */
export const SHUTDOWN_RCV = 1;
export const SHUTDOWN_SEND = 2;

/** The host's address. */
export const CID_HOST = 2;

/** The one event (5.10.6.7): connections are gone, and the guest's address may be another. */
export const EVENT_TRANSPORT_RESET = 0;

export interface VsockHeader {
  readonly sourceCid: bigint;
  readonly destinationCid: bigint;
  readonly sourcePort: number;
  readonly destinationPort: number;
  /** Bytes of data behind the header. */
  readonly length: number;
  readonly type: number;
  readonly op: number;
  readonly flags: number;
  /** Bytes that the sender's buffer for this connection holds. */
  readonly bufAlloc: number;
  /** Bytes that the sender has taken out of it since the start, modulo 2^32. */
  readonly fwdCnt: number;
}

/** Reads a header of `VSOCK_HEADER` bytes. */
export function decodeHeader(bytes: Uint8Array): VsockHeader {
  const view = new DataView(bytes.buffer, bytes.byteOffset, VSOCK_HEADER);
  return {
    sourceCid: view.getBigUint64(0, true),
    destinationCid: view.getBigUint64(8, true),
    sourcePort: view.getUint32(16, true),
    destinationPort: view.getUint32(20, true),
    length: view.getUint32(24, true),
    type: view.getUint16(28, true),
    op: view.getUint16(30, true),
    flags: view.getUint32(32, true),
    bufAlloc: view.getUint32(36, true),
    fwdCnt: view.getUint32(40, true),
  };
}

export function encodeHeader(header: VsockHeader): Uint8Array {
  const bytes = new Uint8Array(VSOCK_HEADER);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, header.sourceCid, true);
  view.setBigUint64(8, header.destinationCid, true);
  view.setUint32(16, header.sourcePort, true);
  view.setUint32(20, header.destinationPort, true);
  view.setUint32(24, header.length, true);
  view.setUint16(28, header.type, true);
  view.setUint16(30, header.op, true);
  view.setUint32(32, header.flags, true);
  view.setUint32(36, header.bufAlloc, true);
  view.setUint32(40, header.fwdCnt, true);
  return bytes;
}
