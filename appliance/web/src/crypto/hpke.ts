// HPKE base mode with X-Wing, HKDF-SHA256 and AES-256-GCM (RFC 9180, KEM 0x647a; SPEC 2.4).
//
// A private key is its 32-byte X-Wing seed, imported as it is. The library's own derivation from a text makes another
// key, and no file here may call it (test/rules.test.ts).

import { Aes256Gcm, CipherSuite, HkdfSha256 } from '@hpke/core'
import { XWing } from '@hpke/hybridkem-x-wing'

import { SiloError, refused } from '../errors.ts'
import { type Bytes, concat } from './bytes.ts'

export const SEED_SIZE = 32
export const PUBLIC_SIZE = 1216
export const ENC_SIZE = 1120
export const OVERHEAD = ENC_SIZE + 16

const MLKEM_PUBLIC = 1184
const Q = 3329

const kem = new XWing()
const suite = new CipherSuite({ kem, kdf: new HkdfSha256(), aead: new Aes256Gcm() })

/** An X-Wing private key, parsed once. */
export class PrivateKey {
  readonly #key: CryptoKey
  /** ML-KEM-768 public key (1,184 bytes), then X25519 (32). */
  readonly public: Bytes

  private constructor(key: CryptoKey, publicKey: Bytes) {
    this.#key = key
    this.public = publicKey
  }

  /** From its 32-byte seed. Refuses another size. */
  static async from(seed: Bytes): Promise<PrivateKey> {
    if (seed.length !== SEED_SIZE) {
      throw refused('an X-Wing seed has 32 bytes')
    }
    const { publicKey } = await kem.generateKeyPairDerand(seed.slice())
    const raw = new Uint8Array(await kem.serializePublicKey(publicKey))
    return new PrivateKey(await kem.importKey('raw', seed.slice().buffer, false), raw)
  }

  /** The plaintext sealed to this key under `info`. `no_match` where it does not open; HPKE does not say why. */
  async open(sealed: Bytes, info: Bytes): Promise<Bytes> {
    if (sealed.length < OVERHEAD) {
      throw new SiloError('no_match')
    }
    const enc = sealed.slice(0, ENC_SIZE)
    try {
      return new Uint8Array(await suite.open({ recipientKey: this.#key, enc, info }, sealed.slice(ENC_SIZE)))
    } catch {
      throw new SiloError('no_match')
    }
  }
}

/** Refuses a public key that nothing can be sealed to: a wrong size, a coefficient out of range, an X25519 point of
 * low order. */
export function checkPublic(publicKey: Uint8Array): void {
  if (publicKey.length !== PUBLIC_SIZE || !coefficientsFit(publicKey) || isLowOrder(publicKey.subarray(MLKEM_PUBLIC))) {
    throw refused('not an X-Wing public key')
  }
}

// 3 times 256 coefficients of 12 bits, two in three bytes; behind them 32 bytes of any value (FIPS 203, 7.2).
function coefficientsFit(publicKey: Uint8Array): boolean {
  for (let at = 0; at < MLKEM_PUBLIC - 32; at += 3) {
    const held = publicKey[at]! | (publicKey[at + 1]! << 8) | (publicKey[at + 2]! << 16)
    if ((held & 0xfff) >= Q || held >> 12 >= Q) {
      return false
    }
  }
  return true
}

const P = 2n ** 255n - 19n
// The points that give zero with every private key: of order 1, 2, 4 and 8, on the curve and on its twist.
const LOW_ORDER = new Set([
  0n,
  1n,
  P - 1n,
  325606250916557431795983626356110631294008115727848805560023387167927233504n,
  39382357235489614581723060781553021112529911719440698176882885853963445705823n,
])

function isLowOrder(point: Uint8Array): boolean {
  const hex = [...point].reverse().map((byte) => byte.toString(16).padStart(2, '0'))
  // X25519 does not look at the highest bit, and takes what is beyond P (RFC 7748).
  return LOW_ORDER.has((BigInt(`0x${hex.join('')}`) & (2n ** 255n - 1n)) % P)
}

/** `enc` (1,120 bytes) and ciphertext (plaintext + 16). Refuses a bad public key. */
export async function seal(publicKey: Bytes, plaintext: Bytes, info: Bytes): Promise<Bytes> {
  checkPublic(publicKey)
  const recipientPublicKey = await kem.importKey('raw', publicKey.slice().buffer, true)
  const { enc, ct } = await suite.seal({ recipientPublicKey, info }, plaintext)
  return concat(new Uint8Array(enc), new Uint8Array(ct))
}
