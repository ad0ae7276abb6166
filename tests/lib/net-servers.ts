// What a guest on passt meets on the host's loopback: a resolver that knows one name, and an HTTP
// server with a file that comes at once and one that is held back in the middle.
import { randomBytes } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import { type AddressInfo, connect, createServer as createTcpServer } from 'node:net';

export const NAME = 'cloister.test';
export const ADDRESS = '198.51.100.7';

/** So much of the slow file comes at once; then pieces, until it is released. */
const FIRST = 256 * 1024;
const PIECE = 16 * 1024;
const PAUSE_MS = 50;

export interface Servers {
  readonly dns: number;
  readonly http: number;
  readonly file: Buffer;
  readonly slow: Buffer;
  /** Bytes of the slow file that were sent. */
  readonly slowSent: number;
  /** Ends the delays between the pieces of the slow file. */
  release(): void;
  close(): void;
}

/** Answers questions for the address of `NAME`, and says of other names that there are none. */
function answer(question: Buffer): Buffer {
  const end = question.indexOf(0, 12) + 5;
  const labels: string[] = [];
  for (let at = 12; question[at]! > 0; at += question[at]! + 1) {
    labels.push(question.toString('latin1', at + 1, at + 1 + question[at]!));
  }
  const known = labels.join('.') === NAME;
  const isAddress = known && question.readUInt16BE(end - 4) === 1;
  const head = Buffer.from(question.subarray(0, end));
  head.writeUInt16BE(known ? 0x8580 : 0x8583, 2);
  head.writeUInt16BE(isAddress ? 1 : 0, 6);
  head.writeUInt32BE(0, 8);
  const record = Buffer.from([
    0xc0,
    12,
    0,
    1,
    0,
    1,
    0,
    0,
    0,
    60,
    0,
    4,
    ...ADDRESS.split('.').map(Number),
  ]);
  return isAddress ? Buffer.concat([head, record]) : head;
}

export async function startServers(fileSize: number): Promise<Servers> {
  const file = randomBytes(fileSize);
  const slow = randomBytes(1024 * 1024);
  let released = false;
  let slowSent = 0;
  const sendSlowly = (response: ServerResponse, from: number) => {
    if (response.destroyed) return;
    const to = released ? slow.length : from + (from === 0 ? FIRST : PIECE);
    slowSent = Math.min(to, slow.length - PIECE);
    // The last piece waits for the release.
    if (released) response.end(slow.subarray(from));
    else {
      response.write(slow.subarray(from, slowSent));
      setTimeout(() => sendSlowly(response, slowSent), PAUSE_MS);
    }
  };
  const http = createServer(({ url }, response) => {
    response.setHeader('content-length', url === '/slow' ? slow.length : file.length);
    if (url === '/slow') sendSlowly(response, 0);
    else response.end(file);
  }).listen(0, '127.0.0.1');
  const dns = createSocket('udp4');
  dns.on('message', (question, { port, address }) => dns.send(answer(question), port, address));
  dns.bind(0, '127.0.0.1');
  await Promise.all([once(http, 'listening'), once(dns, 'listening')]);
  return {
    dns: dns.address().port,
    http: (http.address() as AddressInfo).port,
    file,
    slow,
    get slowSent() {
      return slowSent;
    },
    release() {
      released = true;
    },
    close() {
      http.closeAllConnections();
      http.close();
      dns.close();
    },
  };
}

/** A TCP port of the host's that nobody has. */
export async function freePort(): Promise<number> {
  const server = createTcpServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

/**
 * What a server at a port of the host's answers to `question`. Who connects speaks first: passt of
 * 2023 does not acknowledge a guest's side of a connection before.
 */
export async function ask(port: number, question: string): Promise<string> {
  const socket = connect(port, '127.0.0.1').setEncoding('utf8');
  let text = '';
  socket.on('data', (piece: string) => {
    text += piece;
  });
  socket.write(question);
  await once(socket, 'close');
  return text;
}
