// Locks: the account key's seed sealed to what a person knows (SPEC 9).
//
// Asymmetric: a lock's secret derives an X-Wing pair, so that the account key can be rotated without the secret at
// hand. What the silo keeps of a password can be guessed offline as far as the password is weak.

import { argon2id } from 'hash-wasm'

import { SiloError, refusedAs } from '../errors.ts'
import { type Bytes, random, u64 } from './bytes.ts'
import { b32, b64, idBytes, utf8 } from './encoding.ts'
import { blob, count, hash, id, object, oneOf } from './json.ts'
import { derive, recipientOf } from './keys.ts'
import * as labels from './labels.ts'
import { digest, pack } from './labels.ts'

// Constants of lock version 1: nobody who serves a lock can ask for less (SPEC 9.1).
const MEMORY_KIB = 64 * 1024
const PASSES = 3
export const MANIFEST = 1
export const SALT_SIZE = 16

/** A lock as the silo keeps it. Every field but `proof_hash` is released to whoever gives the proof. */
export interface Lock {
  readonly version: 1
  readonly kind: 'password'
  readonly salt: string
  readonly proof_hash: string
  readonly public: string
  readonly sealed: string
  readonly mac: string
  readonly manifest: number
}
export const lock = object<Lock>({
  version: oneOf(1),
  kind: oneOf('password'),
  salt: id,
  proof_hash: hash,
  public: blob,
  sealed: blob,
  mac: hash,
  manifest: count,
})

/** What a password derives on the device. */
export interface PasswordSecret {
  /** Sent to sign in; the silo keeps its hash. */
  readonly proof: Bytes
  /** Of the pair to seal to. */
  readonly sealSeed: Bytes
  readonly macKey: Bytes
}

/** What the silo keeps of the proof. */
export function proofHash(secret: PasswordSecret): Promise<Bytes> {
  return digest(labels.LOCK_PROOF_HASH, secret.proof)
}

/** 32 bytes that only the lock's secret makes: which account key it locks, in which manifest. */
export async function lockProof(
  macKey: Bytes,
  silo: Bytes,
  user: Bytes,
  account: Bytes,
  manifest: number,
): Promise<Bytes> {
  const how = { name: 'HMAC', hash: 'SHA-256' }
  const key = await crypto.subtle.importKey('raw', macKey, how, false, ['sign'])
  const said = pack(labels.LOCK_MAC, silo, user, account, u64(manifest))
  return new Uint8Array(await crypto.subtle.sign('HMAC', key, said))
}

/** 32 bytes by Argon2id (64 MiB, 3 passes) from a password in NFKC and UTF-8; `salt` has 16 bytes.
 *
 * Some tenths of a second: in a page it belongs into a worker. `bad_password` for an empty one, which the library
 * cannot stretch and nothing is locked under, and for a lone surrogate, which has no UTF-8. */
export async function stretchText(password: string, salt: Bytes): Promise<Bytes> {
  if (!password) {
    throw new SiloError('bad_password', 'it is empty')
  }
  const text = await refusedAs('bad_password', () => utf8(password.normalize('NFKC')))
  return new Uint8Array(
    await argon2id({
      password: text,
      salt,
      parallelism: 1,
      iterations: PASSES,
      memorySize: MEMORY_KIB,
      hashLength: 32,
      outputType: 'binary',
    }),
  )
}

/** What a password derives; `storedSalt` has 16 bytes. As `stretchText`.
 *
 * Silo id and genesis pin are in the salt, so that a proof given to a false silo is worth nothing elsewhere. */
export async function stretch(
  password: string,
  storedSalt: Bytes,
  silo: Bytes,
  genesis: Bytes,
): Promise<PasswordSecret> {
  const salt = (await digest(labels.LOCK_SALT, silo, genesis, storedSalt)).slice(0, SALT_SIZE)
  const key = await stretchText(password, salt)
  const proof = await derive(key, labels.LOCK_PROOF)
  return { proof, sealSeed: await derive(key, labels.LOCK_SEAL), macKey: await derive(key, labels.LOCK_MAC_KEY) }
}

/** The account key's seed behind a password. `silo` and `user` are 16 bytes, `genesis` 32. `bad_password` for an empty
 * one; as `stretchText`. */
export async function makePasswordLock(
  password: string,
  accountSeed: Bytes,
  silo: Bytes,
  genesis: Bytes,
  user: Bytes,
): Promise<Lock> {
  const salt = random(SALT_SIZE)
  const secret = await stretch(password, salt, silo, genesis)
  const pair = await recipientOf(secret.sealSeed)
  const inner = pack(labels.LOCK, accountSeed, silo, genesis)
  const sealed = await pair.seal(inner, labels.LOCK_SEAL, silo, user, utf8('password'))
  const { fingerprint: account } = await recipientOf(accountSeed)
  return {
    version: 1,
    kind: 'password',
    salt: b32(salt),
    proof_hash: b32(await proofHash(secret)),
    public: b64(pair.public),
    sealed: b64(sealed),
    mac: b32(await lockProof(secret.macKey, silo, user, account, MANIFEST)),
    manifest: MANIFEST,
  }
}

/** The 16 bytes that `stretch` wants. */
export function lockSalt(one: Lock): Bytes {
  return idBytes(one.salt)
}
