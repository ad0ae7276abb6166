// Bytes that other people's tools made, and a Debian archive of our own on a local port.
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { gzipSync } from 'node:zlib';
import { sha256 } from './cache.mjs';

const base64 = (text: string) => Buffer.from(text, 'base64');

/** By dpkg-deb: bin/tool ("a tool\n"), bin/alias -> tool, usr/share/doc/text. */
export const DEB = base64(
  'ITxhcmNoPgpkZWJpYW4tYmluYXJ5ICAgMCAgICAgICAgICAgMCAgICAgMCAgICAgMTAwNjQ0ICA0ICAgICAgICAgYAoy' +
    'LjAKY29udHJvbC50YXIueHogIDAgICAgICAgICAgIDAgICAgIDAgICAgIDEwMDY0NCAgMjc2ICAgICAgIGAK/Td6WFoA' +
    'AATm1rRGBMDRAYBQIQEWAAAAAAAAAF1mXk3gJ/8AyV0AFwu8HH0BlcAdSj55Fb94+k2ePc5M6nMbu0dOjn0Gi9X/vyaE' +
    'OIV1g0aBLJruq20gUkgZ9hT2JlPCr3XVukNcpTwcpUmQlOmCsup2/rU5sA6s0q5zL9qo26APerpOWa26bPG3i09fXBUa' +
    'lpzLbiWsWbmMv/xwPkLOzxzQlht/gVIQyRtyqQdbbgrLldH6dUjedh7kBihq3ObTlA+nkVpPAxhWLnF6qG/XESbp2CGv' +
    'Jjlft3dtDIdZxWeQtTWNkgGQYNaaDW5HLKjHAAAAAOBTWaDu0UH0AAHtAYBQAAC6bQrVscRn+wIAAAAABFlaZGF0YS50' +
    'YXIueHogICAgIDAgICAgICAgICAgIDAgICAgIDAgICAgIDEwMDY0NCAgMjg4ICAgICAgIGAK/Td6WFoAAATm1rRGBMDe' +
    'AYBQIQEWAAAAAAAAAKvSyhvgJ/8A1l0AFwu8HH0BlcAdSj55Fb94+k2ePc5M6nMbu0dOjn0Gi9X/vyaEOIV1g0aBLJru' +
    'q2z0as/d0gkDIyP0FPxsATXRj8maJF6StsQSPgf3mSauyVZFedl1gqNq03GnbWeh4GAsrs3KbK//9IaS3V+uyRpHxclh' +
    'TssAI4A+CWE9J0hiPXACjlw/RDVD2so6ClLEVd6AV1lITTOE7YwQQmBmswJ6U3FpiCV+43Eo8jj0QxpffOM+xgPlb6og' +
    'iRZ1vDthRqCOe1dEeOj+FADMcvzHF8PneI+I6dJMAAAAAJ2CqtlnBKnZAAH6AYBQAACZX9nLscRn+wIAAAAABFla',
);

/** By `xz --check=crc32 --x86 --lzma2=dict=64KiB`: what `branches()` returns. */
export const XZ_X86 = base64(
  '/Td6WFoAAAFpIt42AgEEACEBCADSuXTL4AHfAA9dAEhqNgGA+AZURu1X5oYAAAAARJQp+gABJ+ADAAAAYomd4z4wDYsC' +
    'AAAAAAFZWg==',
);

/** Calls whose relative targets change from each to the next, as the x86 filter likes them. */
export function branches(): Buffer {
  const calls = Array.from({ length: 40 }, (_, i) => {
    const call = Buffer.alloc(12, 0x90);
    call[7] = 0xe8;
    call.writeUInt32LE(0x1000 - i * 12, 8);
    return call;
  });
  return Buffer.concat(calls);
}

/** By gpg: a key made for this, and its signature over SIGNED. */
export const KEYRING = base64(
  'mDMEZZIAgBYJKwYBBAHaRw8BAQdAa/0Bw2A7fvD5nzlqlsAp7oYvOiGhR/4cn/E75IANdSW0IUZpeHR1cmUgPGZpeHR1' +
    'cmVAZXhhbXBsZS5pbnZhbGlkPoiQBBMWCAA4FiEEV14+5zgVeNh09Lcf877ECEmzEF4FAmWSAIACGwMFCwkIBwIGFQoJ' +
    'CAsCBBYCAwECHgECF4AACgkQ877ECEmzEF4euwEAxPr+8bkInhGcPqTfQIFWj2I40eTyF0zjfpMfXIMnDlIBALZPepgm' +
    'a+5G6xxqC7F8qjGUxaDKxkQJYngLneA2iK4H',
);
export const SIGNED = Buffer.from('Suite: fixture\nCodename: fixture\n');
export const SIGNATURE = base64(
  'iHUEABYIAB0WIQRXXj7nOBV42HT0tx/zvsQISbMQXgUCZZIAgAAKCRDzvsQISbMQXthuAQD0MXuKET+M0Avor+rHH72C' +
    'qkV70U2zlt8FTgB6MNWCvQD+IBJDG1uy1A9SXpKqyIgLP0Xx0KyjcO3Gg2z+tECknwE=',
);

type Files = Record<string, Uint8Array | string>;

/** A .deb whose data.tar is not compressed: enough for a reader of either. */
export function makeDeb(files: Files): Buffer {
  const tar = Object.entries(files).map(([path, data]) => tarMember(`./${path}`, data));
  const members: [string, Buffer][] = [
    ['debian-binary', Buffer.from('2.0\n')],
    ['data.tar', Buffer.concat([...tar, Buffer.alloc(1024)])],
  ];
  return Buffer.concat([Buffer.from('!<arch>\n'), ...members.map((each) => arMember(...each))]);
}

function arMember(name: string, data: Buffer): Buffer {
  const fields = [name.padEnd(16), '0'.padEnd(12), '0'.padEnd(6), '0'.padEnd(6), '100644  '];
  const header = `${fields.join('')}${String(data.length).padEnd(10)}\`\n`;
  return Buffer.concat([Buffer.from(header), data, Buffer.alloc(data.length & 1, '\n')]);
}

function tarMember(path: string, contents: Uint8Array | string): Buffer {
  const data = Buffer.from(contents as string);
  const header = Buffer.alloc(512);
  header.write(path, 0);
  header.write('0000644\0' + '0000000\0'.repeat(2), 100);
  header.write(`${data.length.toString(8).padStart(11, '0')}\0${'0'.repeat(11)}\0`, 124);
  header.write('        0', 148);
  header.write('ustar\x0000', 257);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return Buffer.concat([header, data, Buffer.alloc(-data.length & 511)]);
}

/** A bzImage of boot protocol 2.15 with this payload, which expands to `size` bytes. */
export function makeBzImage(payload: Uint8Array, size: number): Buffer {
  const image = Buffer.alloc(1024 + payload.length + 4);
  image[0x1f1] = 1;
  image.writeUInt16LE(0xaa55, 0x1fe);
  image.write('HdrS', 0x202);
  image.writeUInt16LE(0x020f, 0x206);
  image.writeUInt32LE(0, 0x248);
  image.writeUInt32LE(payload.length + 4, 0x24c);
  image.set(payload, 1024);
  image.writeUInt32LE(size, 1024 + payload.length);
  return image;
}

/** A relocatable ELF file with nothing but a .modinfo section of these strings. */
export function makeModule(...modinfo: string[]): Buffer {
  const names = Buffer.from('\0.modinfo\0.shstrtab\0');
  const info = Buffer.from(modinfo.map((text) => `${text}\0`).join(''));
  const header = Buffer.alloc(64);
  header.write('\x7fELF\x02\x01\x01', 0, 'latin1');
  header.writeBigUInt64LE(BigInt(64 + names.length + info.length), 0x28);
  header.writeUInt16LE(3, 0x3c);
  header.writeUInt16LE(2, 0x3e);
  const section = (name: number, from: number, size: number) => {
    const bytes = Buffer.alloc(64);
    bytes.writeUInt32LE(name, 0);
    bytes.writeBigUInt64LE(BigInt(from), 0x18);
    bytes.writeBigUInt64LE(BigInt(size), 0x20);
    return bytes;
  };
  const sections = [
    section(0, 0, 0),
    section(1, 64 + names.length, info.length),
    section(10, 64, names.length),
  ];
  return Buffer.concat([header, names, info, ...sections]);
}

export interface Archive {
  url: string;
  /** What the server was asked for. */
  requests: string[];
  /** Every path and its bytes; a test may replace some. */
  files: Map<string, Buffer>;
  close(): Promise<void>;
}

/** Serves a Debian archive of one suite on the loopback interface. */
export async function serveArchive(debs: { name: string; depends?: string; deb: Buffer }[]) {
  const files = new Map<string, Buffer>();
  const paragraphs = debs.map(({ name, depends, deb }) => {
    files.set(`/pool/${name}.deb`, deb);
    return [
      ...[`Package: ${name}`, 'Version: 1:6.1-1', `Filename: pool/${name}.deb`],
      ...[`Size: ${deb.length}`, `SHA256: ${sha256(deb)}`, `Depends: ${depends ?? 'libc6'}`],
    ].join('\n');
  });
  const index = gzipSync(`${paragraphs.join('\n\n')}\n`);
  files.set('/dists/bookworm/main/binary-amd64/Packages.gz', index);
  const line = ` ${sha256(index)} ${index.length} main/binary-amd64/Packages.gz`;
  files.set('/dists/bookworm/Release', Buffer.from(`Codename: bookworm\nSHA256:\n${line}\n`));
  files.set('/dists/bookworm/Release.gpg', SIGNATURE);

  const requests: string[] = [];
  const server = createServer((request, response) => {
    requests.push(request.url ?? '');
    const body = files.get(request.url ?? '');
    response.writeHead(body ? 200 : 404).end(body);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const close = () =>
    new Promise<void>((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { url, requests, files, close } satisfies Archive;
}
