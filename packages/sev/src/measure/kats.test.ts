// Known answers of the shared vectors: session keys, LAUNCH_MEASURE, secrets, chains, ID blocks.
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { fromHex, toHex } from '../bytes.js';
import { nodeHashes } from '../hash/node-hash.js';
import { useHashes } from '../hash/port.js';
import { pureHashes } from '../hash/pure-hash.js';
import { vectorBytes, vectorJson, vectorsAbsent } from '../testing/node-vectors.js';
import { checkIdAuth, decodeIdBlock, encodeIdBlock } from './id-block.js';
import { keyDigest, verifyBytes } from './id-key.js';
import { sevChain, snpChain } from './launch-chain.js';
import { checkLaunchMeasure, launchMeasure } from './launch-measure.js';
import { secretPacket, secretTable } from './launch-secret.js';
import { measure } from './measure.js';
import { sessionData, sessionKeys } from './session.js';

interface Measurement {
  api_major: number;
  api_minor: number;
  build: number;
  policy: number;
  tik: string;
  digest?: string;
  mnonce?: string;
  mac?: string;
  blob?: string;
  firmware?: string;
  kernel_hex?: string;
  initrd_hex?: string;
  cmdline?: string;
  vcpus?: number;
  vmsa_bsp?: string;
  vmsa_ap?: string;
}

interface Kats {
  session: Record<'z' | 'nonce' | 'iv' | 'tek' | 'tik' | 'master', string> &
    Record<'wrap_tk' | 'wrap_mac' | 'policy_mac', string> & { policy: number };
  measurement: Measurement[];
  secret: Record<'tik' | 'tek' | 'iv' | 'launch_measure_blob' | 'guid', string> &
    Record<'secret_utf8' | 'plaintext' | 'header' | 'ciphertext', string>;
  gctx: { type: string; gpa: string; pages: number; ld: string }[];
  id_block: Record<'launch_digest' | 'family' | 'image' | 'policy' | 'id_block_b64', string> &
    Record<'id_key_digest' | 'author_key_digest', string> & { svn: number };
}

const absent = vectorsAbsent('measure');
let ran = 0;
afterAll(() => {
  process.stderr.write(`measure vectors, known answers: ${absent ?? `${ran} ran`}\n`);
});
const input = (name: string) => vectorBytes(`measure/inputs/${name}`);

describe.skipIf(absent).each([pureHashes, nodeHashes])(
  `measure vectors, known answers, $name${absent ? `: ${absent}` : ''}`,
  (implementation) => {
    beforeAll(() => void useHashes(implementation));
    afterAll(() => void useHashes(pureHashes));
    afterEach(() => {
      ran++;
    });
    const kats = absent ? ({ measurement: [], gctx: [] } as never) : read();

    test('session keys and data', async () => {
      const { z, nonce, iv, tek, tik, policy, ...expected } = kats.session;
      expect(toHex(sessionKeys(fromHex(z), fromHex(nonce)).master)).toBe(expected.master);
      const session = await sessionData({
        z: fromHex(z),
        nonce: fromHex(nonce),
        iv: fromHex(iv),
        tek: fromHex(tek),
        tik: fromHex(tik),
        policy,
      });
      expect(toHex(session.wrappedKeys)).toBe(expected.wrap_tk);
      expect(toHex(session.wrapMac)).toBe(expected.wrap_mac);
      expect(toHex(session.policyMac)).toBe(expected.policy_mac);
      expect(session.bytes.length).toBe(128);
    });

    for (const [index, each] of kats.measurement.entries()) {
      test(`LAUNCH_MEASURE ${index}`, () => {
        const inputs = {
          version: { major: each.api_major, minor: each.api_minor, build: each.build },
          policy: each.policy,
          tik: fromHex(each.tik),
          digest: digestOf(each),
        };
        if (each.blob === undefined) {
          expect(toHex(launchMeasure({ ...inputs, nonce: fromHex(each.mnonce!) }))).toBe(each.mac);
          return;
        }
        const blob = fromHex(each.blob);
        expect(checkLaunchMeasure(blob, inputs)).toBe(true);
        expect(checkLaunchMeasure(blob, { ...inputs, policy: each.policy ^ 8 })).toBe(false);
      });
    }

    test('secret table and packet', async () => {
      const { secret } = kats;
      const data = new TextEncoder().encode(secret.secret_utf8);
      const plaintext = secretTable([{ guid: secret.guid, data }]);
      expect(toHex(plaintext)).toBe(secret.plaintext);
      const packet = await secretPacket({
        plaintext,
        keys: { tek: fromHex(secret.tek), tik: fromHex(secret.tik) },
        iv: fromHex(secret.iv),
        measurement: fromHex(secret.launch_measure_blob),
      });
      expect(toHex(packet.ciphertext)).toBe(secret.ciphertext);
      expect(toHex(packet.header)).toBe(secret.header);
    });

    for (const each of kats.gctx) {
      test(`chain of ${each.type} pages`, () => {
        const bytes = new Uint8Array(each.pages * 4096);
        const text = new TextEncoder().encode('LGTM'.repeat(4));
        bytes.set(text, 0);
        bytes.set(text, bytes.length - 16);
        const type = each.type.toLowerCase() as 'normal' | 'zero';
        const chain = snpChain();
        chain.add({ name: 'kat', gpa: Number(each.gpa), size: bytes.length, type, bytes });
        expect(toHex(chain.digest())).toBe(each.ld);
      });
    }

    test('ID block and ID auth', async () => {
      const { id_block: kat } = kats;
      const block = encodeIdBlock({
        digest: fromHex(kat.launch_digest),
        familyId: fromHex(kat.family),
        imageId: fromHex(kat.image),
        guestSvn: kat.svn,
        policy: BigInt(kat.policy),
      });
      expect(Buffer.from(block).toString('base64')).toBe(kat.id_block_b64);
      expect(decodeIdBlock(block).policy).toBe(BigInt(kat.policy));
      const auth = input('test_auth_block.bin');
      const result = await checkIdAuth(block, auth);
      expect(result).toMatchObject({ blockSigned: true, keySigned: true });
      expect(toHex(result.idKeyDigest)).toBe(kat.id_key_digest);
      expect(toHex(result.authorKeyDigest!)).toBe(kat.author_key_digest);
      const idKey = auth.slice(0x240, 0x644);
      const authorKey = auth.slice(0x880, 0xc84);
      expect(toHex(keyDigest(idKey))).toBe(kat.id_key_digest);
      expect(await verifyBytes(idKey, input('test_id_sig.bin'), block)).toBe(true);
      expect(await verifyBytes(authorKey, input('test_auth_sig.bin'), idKey)).toBe(true);
      expect(await verifyBytes(authorKey, input('test_auth_sig.bin'), block)).toBe(false);
    });
  },
);

function read(): Kats {
  return vectorJson<Kats>('measure/kats.json');
}

/** The digest is given, or that of a firmware, or of a firmware and VMSA pages. */
function digestOf(each: Measurement): Uint8Array {
  if (each.digest !== undefined) return fromHex(each.digest);
  const firmware = input(each.firmware!);
  if (each.vmsa_bsp === undefined) {
    return measure({
      mode: 'sev',
      firmware,
      ...(each.kernel_hex === undefined ? {} : { kernel: fromHex(each.kernel_hex) }),
      ...(each.initrd_hex === undefined ? {} : { initrd: fromHex(each.initrd_hex) }),
      ...(each.cmdline === undefined ? {} : { append: each.cmdline }),
    });
  }
  const chain = sevChain();
  const pages = Array.from({ length: each.vcpus! }, (_, index) =>
    input(index === 0 ? each.vmsa_bsp! : each.vmsa_ap!),
  );
  for (const bytes of [firmware, ...pages]) {
    chain.add({ name: 'kat', gpa: 0, size: bytes.length, type: 'normal', bytes });
  }
  const vcpuSignature = 0xa00f11;
  const { vcpus = 1 } = each;
  const made = measure({ mode: 'seves', firmware, vcpus, vcpuSignature, vmm: 'qemu-legacy' });
  expect(toHex(made)).toBe(toHex(chain.digest()));
  return made;
}
