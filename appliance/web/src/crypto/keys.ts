// Keys: who signs, who is sealed to, and the fingerprints that name them (SPEC 2.5, 6).
//
// Signer and verify are Ed25519; Recipient is X-Wing. Opening stands in opening.ts, under its own labels.

import { SiloError, refused, refusedAs } from '../errors.ts'
import { type Bytes, concat, random, readU64, u64, zeros } from './bytes.ts'
import { b32, unb64 } from './encoding.ts'
import * as hpke from './hpke.ts'
import * as labels from './labels.ts'
import { digest, pack, unpack } from './labels.ts'

export const SEED_SIZE = 32
export const SIGN_SIZE = 32
export const SEAL_SIZE = hpke.PUBLIC_SIZE
export const SIGNATURE_SIZE = 64

/** 32 bytes by HKDF-SHA256: `info` is label and fields packed (RFC 5869; SPEC 2.4). */
export function derive(secret: Bytes, label: string, ...fields: readonly Uint8Array[]): Promise<Bytes> {
  return deriveSalted(zeros(0), secret, label, ...fields)
}

/** As `derive`, with a salt. */
export function deriveSalted(
  salt: Bytes,
  secret: Bytes,
  label: string,
  ...fields: readonly Uint8Array[]
): Promise<Bytes> {
  return hkdf(salt, secret, pack(label, ...fields))
}

/** 32 bytes by HKDF-SHA256 (RFC 5869); for `derive` alone, which packs `info`. */
export async function hkdf(salt: Bytes, secret: Bytes, info: Bytes): Promise<Bytes> {
  const key = await crypto.subtle.importKey('raw', secret, 'HKDF', false, ['deriveBits'])
  return new Uint8Array(await crypto.subtle.deriveBits({ name: 'HKDF', hash: 'SHA-256', salt, info }, key, 256))
}

/** 32 bytes that name one public key, Ed25519 or X-Wing (SPEC 2.5). */
export function fingerprint(publicKey: Uint8Array): Promise<Bytes> {
  return digest(labels.FINGERPRINT, publicKey)
}

/** 32 bytes over both halves of an admin key or holder. Of the key that signed keyring version 1 it is the genesis
 * pin. Of one that never signs `sign` is empty. */
export function adminFingerprint(sign: Uint8Array, seal: Uint8Array): Promise<Bytes> {
  return digest(labels.ADMIN, sign, seal)
}

/** 32 bytes that name a device's pair of keys. */
export function deviceFingerprint(sign: Uint8Array, seal: Uint8Array): Promise<Bytes> {
  return digest(labels.DEVICE, sign, seal)
}

/** A fingerprint as people compare it: base32 in groups of four. */
export function spoken(mark: Uint8Array): string {
  return (b32(mark).match(/.{1,4}/g) ?? []).join(' ')
}

/** 16 bytes that an Ed25519 seed stands behind in PKCS #8 (RFC 8410). */
const PKCS8 = Uint8Array.from([0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20])

/** An Ed25519 private key: it signs and opens nothing. A fresh one cannot be exported. */
export class Signer {
  readonly #key: CryptoKey
  readonly public: Bytes

  private constructor(key: CryptoKey, publicKey: Bytes) {
    this.#key = key
    this.public = publicKey
  }

  /** A fresh one; its private half never leaves WebCrypto. */
  static async fresh(): Promise<Signer> {
    const pair = await crypto.subtle.generateKey('Ed25519', false, ['sign', 'verify'])
    return Signer.of(pair as CryptoKeyPair)
  }

  /** From a pair that was kept. */
  static async of(pair: CryptoKeyPair): Promise<Signer> {
    return new Signer(pair.privateKey, new Uint8Array(await crypto.subtle.exportKey('raw', pair.publicKey)))
  }

  /** From its 32-byte seed. Refuses another size. */
  static async from(seed: Bytes): Promise<Signer> {
    if (seed.length !== SEED_SIZE) {
      throw refused('an Ed25519 seed has 32 bytes')
    }
    const encoded = concat(PKCS8, seed)
    const key = await crypto.subtle.importKey('pkcs8', encoded, 'Ed25519', true, ['sign'])
    const { x } = await crypto.subtle.exportKey('jwk', key)
    return new Signer(await crypto.subtle.importKey('pkcs8', encoded, 'Ed25519', false, ['sign']), unb64(x ?? ''))
  }

  /** 64 bytes over label and fields packed (SPEC 2.5). */
  async sign(label: string, ...fields: readonly Uint8Array[]): Promise<Bytes> {
    return new Uint8Array(await crypto.subtle.sign('Ed25519', this.#key, pack(label, ...fields)))
  }
}

// Numbers of 32 bytes, little-endian as in a signature, in hexadecimal.
const P = `ed${'ff'.repeat(30)}7f`
const L = 'edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010'
// y of the points with 8P = 0; of each both signs of x are of small order.
const SMALL_ORDER = new Set([
  '00'.repeat(32),
  `01${'00'.repeat(31)}`,
  `ec${'ff'.repeat(30)}7f`,
  '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05',
  'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a',
])

function hex(data: Uint8Array): string {
  let out = ''
  for (const byte of data) out += (byte < 16 ? '0' : '') + byte.toString(16)
  return out
}

// Nothing secret is compared here.
function isBelow(number: Uint8Array, limit: string): boolean {
  for (let at = 31; at >= 0; at--) {
    const digit = parseInt(limit.slice(2 * at, 2 * at + 2), 16)
    if (number[at] !== digit) return number[at]! < digit
  }
  return false
}

// What WebCrypto leaves open and libsodium refuses (SPEC 2.4).
function isAcceptable(point: Uint8Array): boolean {
  const y = point.slice()
  y[31]! &= 0x7f // the sign of x
  return isBelow(y, P) && !SMALL_ORDER.has(hex(y))
}

/** `forged` unless `publicKey` signed label and fields. The rules are libsodium's (SPEC 2.4): cofactorless; a
 * small-order key or R, a key spelled in a second way and a scalar not below the group's order are refused. */
export async function verify(
  publicKey: Bytes,
  signature: Bytes,
  label: string,
  ...fields: readonly Uint8Array[]
): Promise<void> {
  if (!(await isSigned(publicKey, signature, pack(label, ...fields)))) {
    throw new SiloError('forged')
  }
}

/** Whether `publicKey` signed `said`; for `verify` alone, which packs it. */
export async function isSigned(publicKey: Bytes, signature: Bytes, said: Bytes): Promise<boolean> {
  return (
    publicKey.length === SIGN_SIZE &&
    signature.length === SIGNATURE_SIZE &&
    isBelow(signature.subarray(32), L) &&
    isAcceptable(publicKey) &&
    isAcceptable(signature.subarray(0, 32)) &&
    (await webVerify(publicKey, signature, said))
  )
}

// A log's receipts are all signed by one key, so the last one is kept.
let last: { readonly mark: string; readonly key: CryptoKey } | undefined

async function webVerify(publicKey: Bytes, signature: Bytes, said: Bytes): Promise<boolean> {
  const mark = hex(publicKey)
  try {
    const known = last
    const key =
      known?.mark === mark ? known.key : await crypto.subtle.importKey('raw', publicKey, 'Ed25519', true, ['verify'])
    last = { mark, key }
    return await crypto.subtle.verify('Ed25519', key, signature, said)
  } catch {
    return false // some engines look at the key when they take it: it is off the curve
  }
}

/** An X-Wing public key (1,216 bytes): it can be sealed to. */
export class Recipient {
  readonly public: Bytes
  readonly fingerprint: Bytes

  private constructor(publicKey: Bytes, mark: Bytes) {
    this.public = publicKey
    this.fingerprint = mark
  }

  /** Refuses a public key that nothing can be sealed to. */
  static async of(publicKey: Bytes): Promise<Recipient> {
    hpke.checkPublic(publicKey)
    return new Recipient(publicKey, await fingerprint(publicKey))
  }

  /** HPKE seal: enc (1,120 bytes), ciphertext (plaintext + 16). */
  seal(plaintext: Bytes, label: string, ...fields: readonly Uint8Array[]): Promise<Bytes> {
    return hpke.seal(this.public, plaintext, pack(label, ...fields))
  }
}

/** The public half of an X-Wing seed. Refuses another size. */
export async function recipientOf(seed: Bytes): Promise<Recipient> {
  return Recipient.of((await hpke.PrivateKey.from(seed)).public)
}

/** The public halves of an admin key, and the fingerprint over both. */
export interface AdminPublic {
  readonly sign: Bytes
  readonly seal: Bytes
  readonly fingerprint: Bytes
}

/** An admin key from its one 32-byte seed: signs keyrings, holds vault epochs (SPEC 8.1).
 *
 * It belongs on its holder's own device. A page that comes over a network never takes one. */
export class AdminKey {
  readonly seed: Bytes
  readonly signer: Signer
  readonly sealSeed: Bytes
  readonly public: AdminPublic

  private constructor(seed: Bytes, signer: Signer, sealSeed: Bytes, publicHalves: AdminPublic) {
    this.seed = seed
    this.signer = signer
    this.sealSeed = sealSeed
    this.public = publicHalves
  }

  /** From its seed, or a fresh one. Refuses another size. */
  static async from(seed: Bytes = random(SEED_SIZE)): Promise<AdminKey> {
    if (seed.length !== SEED_SIZE) {
      throw refused("an admin key's seed has 32 bytes")
    }
    const signer = await Signer.from(await derive(seed, labels.ADMIN_SIGN))
    const sealSeed = await derive(seed, labels.ADMIN_SEAL)
    const { public: seal } = await recipientOf(sealSeed)
    const mark = await adminFingerprint(signer.public, seal)
    return new AdminKey(seed, signer, sealSeed, { sign: signer.public, seal, fingerprint: mark })
  }
}

/** What a device says of itself once, signed by itself (SPEC 6.1). All but `time` is raw bytes. */
export interface Enrolment {
  readonly silo: Bytes
  readonly user: Bytes
  readonly device: Bytes
  /** Ed25519 public key, 32 bytes. */
  readonly sign: Bytes
  /** X-Wing public key, 1,216 bytes. */
  readonly seal: Bytes
  /** Milliseconds since 1970. */
  readonly time: bigint
}

/** The bytes that are signed and kept. */
export function enrolmentStatement(one: Enrolment): Bytes {
  return pack(labels.ENROLMENT, one.silo, one.user, one.device, one.sign, one.seal, u64(one.time))
}

/** The enrolment that `statement` spells. `forged` unless its own key signed it and everything in it has its size. */
export async function readEnrolment(statement: Bytes, signature: Bytes): Promise<Enrolment> {
  const enrolment = await refusedAs('forged', () => {
    const fields = unpack(labels.ENROLMENT, statement, 6)
    const [silo, user, device, sign, seal, time] = fields
    const fits = [16, 16, 16, SIGN_SIZE, SEAL_SIZE, 8].every((size, at) => fields[at]?.length === size)
    if (!fits || !silo || !user || !device || !sign || !seal || !time) {
      throw refused('a field has another size')
    }
    hpke.checkPublic(seal)
    return { silo, user, device, sign, seal, time: readU64(time) }
  })
  await verify(enrolment.sign, signature, labels.ENROLMENT, statement)
  return enrolment
}

/** A user's account key from its one 32-byte seed, and what is derived from it (SPEC 9.1).
 *
 * The seed is an X-Wing private key: records are sealed to its public half. Its MACs convince who has the seed, its
 * signatures everybody else. It belongs on its user's devices and nowhere else. */
export class AccountKey {
  readonly seed: Bytes
  readonly recipient: Recipient
  readonly signer: Signer
  readonly macKey: Bytes

  private constructor(seed: Bytes, recipient: Recipient, signer: Signer, macKey: Bytes) {
    this.seed = seed
    this.recipient = recipient
    this.signer = signer
    this.macKey = macKey
  }

  /** From its seed, or a fresh one. Refuses another size. */
  static async from(seed: Bytes = random(SEED_SIZE)): Promise<AccountKey> {
    const recipient = await recipientOf(seed)
    const signer = await Signer.from(await derive(seed, labels.ACCOUNT_SIGN))
    return new AccountKey(seed, recipient, signer, await derive(seed, labels.ACCOUNT_MAC_KEY))
  }

  /** 32 bytes, of the X-Wing key alone: they name the account key everywhere. */
  get fingerprint(): Bytes {
    return this.recipient.fingerprint
  }

  /** 32 bytes by HMAC-SHA256 over label and fields packed. */
  mac(label: string, ...fields: readonly Uint8Array[]): Promise<Bytes> {
    return mac(this.macKey, label, ...fields)
  }

  /** 64 bytes: the account's word that this enrolment is a device of its own, or was one until `revoked`, in
   * milliseconds since 1970 (SPEC 6.2). `statement` and `signature` are the enrolment's; nothing of them is checked here. */
  vouch(statement: Bytes, signature: Bytes, revoked: number | null = null): Promise<Bytes> {
    return this.signer.sign(labels.ENROLMENT_VOUCH, statement, signature, this.fingerprint, orNothing(revoked))
  }
}

/** HMAC-SHA256 over label and fields packed: 32 bytes. */
export async function mac(secret: Bytes, label: string, ...fields: readonly Uint8Array[]): Promise<Bytes> {
  const key = await crypto.subtle.importKey('raw', secret, { name: 'HMAC', hash: 'SHA-256' }, false, ['sign'])
  return new Uint8Array(await crypto.subtle.sign('HMAC', key, pack(label, ...fields)))
}

/** `forged` unless the account vouched for exactly this enrolment and time of revocation (SPEC 6.2).
 *
 * `sign` is the account's signing key, `account` the account key's fingerprint, `revoked` what stands beside the vouch
 * (null: live). The enrolment itself is read by `readEnrolment`. */
export function checkVouch(
  sign: Bytes,
  account: Bytes,
  vouch: Bytes,
  statement: Bytes,
  signature: Bytes,
  revoked: number | null = null,
): Promise<void> {
  return verify(sign, vouch, labels.ENROLMENT_VOUCH, statement, signature, account, orNothing(revoked))
}

function orNothing(time: number | null): Bytes {
  return time === null ? zeros(0) : u64(time)
}

/** What a setup link's 32-byte secret sends: the secret itself stays in the link (SPEC 8.5). */
export function setupBearer(secret: Bytes): Promise<Bytes> {
  return derive(secret, labels.SETUP_BEARER)
}

/** What the silo keeps of a setup link. */
export function setupHash(bearer: Bytes): Promise<Bytes> {
  return digest(labels.SETUP_HASH, bearer)
}
