/**
 * A chip for tests, whose root needs no time to be made. Its keys are public: it protects nothing.
 * `identity.test.ts` makes it afresh.
 */
import { seededEntropy } from '../firmware/entropy.js';
import { type ChipIdentity, decodeChip, makeChip } from '../firmware/root.js';

const FILE = {
  format: 'cloister-emulated-sev-chip',
  version: 1,
  ark: {
    p: [
      'e2b7549ac58dc82299c5050c601c2a39d6f5d91bfab5ebdff285b58f546b9fe71fc4cdbb5f103fb9',
      '04084ec791a0854674b1aa048a0726df7a1e99ae0da71846dfa67d2c2c82ec4fb5123205aaeb5aa5',
      '235ececec20bde097efccbdc3832359c736472dc8ed4eab46419667e7ff8b88b346211672adbfc7b',
      'b2918691c9e285a7',
    ].join(''),
    q: [
      'ea5f47a6095121d8b6b2ef70eda967df68cbc13f5a03e6c41bff1f2a3a94158205f75d3ab552e240',
      '575bd7b112baca29c3999f86f6ee98c2dadec07a1f7366beb1ac91ac4434ec1ec839a42ad100c701',
      '68a0a2ec22d1676d56ce872e85a7ca11dec26fb072479220c6d789c3d726acfa7f5a60a10ca65b66',
      'ef7ec66eb97fd5d1',
    ].join(''),
  },
  ask: {
    p: [
      'c29e05c025da860b82a0ba2c214bcf5bc3b413ac066d4d43ff217497b20dc91c0be6646e5d83f2d9',
      '75deec0aa141f640057683fe08eb3f7058c6b94c196cf2ac505ed9bde84cf5b9cfb445711942a841',
      '3066d8b07e2ee4c51437ee68a1ef8f65388a04b462e9b44b99e9f78546269dcc6450d6dd4e191a71',
      '1460453a504e1cc1',
    ].join(''),
    q: [
      'c516bb143703c9ae5606ebd8cbafa5b50250cdd49a4119c09e057dd84c8c692a3f33c1988e4af6ce',
      'b23cc93c565531693039fcb2931b010b94b62874fc1f111279c9da0cd4b1c4264c6864c88e8e6c20',
      'e492f71e818fb8f5ceea2c33717d3b96b46c871f9ba14a6da2b080bfed62943e009310e510092f4c',
      'a09834a670166345',
    ].join(''),
  },
  uniqueKey: '46c458216d5b74ad791c219a48c3a389af62b7e5e64d1063fc93b8395ad9ec14',
};

export const TEST_CHIP_FILE = JSON.stringify(FILE);

export const testChip: ChipIdentity = decodeChip(TEST_CHIP_FILE);

/** Another chip of the same maker. */
export const otherChip: ChipIdentity = makeChip(seededEntropy('other chip'), testChip.root());
