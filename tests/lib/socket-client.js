// A Worker at the other end of a socket: answers each byte with the next number.
import { createConnection } from 'node:net';
import { workerData } from 'node:worker_threads';

const socket = createConnection({ port: workerData.port, noDelay: true });
socket.on('data', (bytes) => void socket.write(bytes.map((byte) => byte + 1)));
socket.on('error', () => {});
