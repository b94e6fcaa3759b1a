// Locks: the account key's seed sealed to what a person knows or has, and the manifest that lists them (SPEC 9).
//
// Asymmetric: a lock's secret derives an X-Wing pair, so that the account key can be rotated without the secret at
// hand. What the silo keeps of a password can be guessed offline as far as the password is weak.

import { argon2id } from 'hash-wasm'

import { SiloError, refused, refusedAs } from '../errors.ts'
import { isAssigned } from './assigned.ts'
import { type Bytes, random, same, u64 } from './bytes.ts'
import { b32, b64, hashBytes, idBytes, unb64, unutf8, utf8 } from './encoding.ts'
import * as hpke from './hpke.ts'
import { type Reader, blob, count, hash, id, list, nullable, object, oneOf, readJson, text, writeJson } from './json.ts'
import { type AccountKey, type Recipient, SEED_SIZE, derive, mac, recipientOf } from './keys.ts'
import * as labels from './labels.ts'
import { digest, pack } from './labels.ts'

// Constants of lock version 1: nobody who serves a lock can ask for less (SPEC 9.2).
const MEMORY_KIB = 64 * 1024
const PASSES = 3
export const FIRST_MANIFEST = 1
export const MANIFEST_FORMAT = 'securesilo/1 lock manifest'
export const SALT_SIZE = 16

export type Kind = 'password' | 'recovery' | 'prf' | 'device'
const kind = oneOf<Kind>('password', 'recovery', 'prf', 'device')

function isReleasedForProof(of: Kind): boolean {
  return of === 'password' || of === 'recovery'
}

/** A lock as the silo keeps it. Every field but `proof_hash` is released to whoever may have it.
 *
 * `salt` stands for a password alone, `proof_hash` for password and recovery; `account`, `manifest` and `mac` for all
 * kinds but device. Elsewhere they are null. */
export interface Lock {
  readonly version: 1
  /** Of a device's lock: the device's id. */
  readonly id: string
  readonly kind: Kind
  readonly salt: string | null
  readonly proof_hash: string | null
  readonly public: string
  readonly sealed: string
  /** Fingerprint of the account key that the secret's holder accepted when it was last at hand. */
  readonly account: string | null
  /** The manifest's version then. */
  readonly manifest: number | null
  readonly mac: string | null
}

const lockFields = object<Lock>({
  version: oneOf(1),
  id,
  kind,
  salt: nullable(id),
  proof_hash: nullable(hash),
  public: blob,
  sealed: blob,
  account: nullable(hash),
  manifest: nullable(count),
  mac: nullable(hash),
})

/** Refuses a field that the lock's kind does not have, or lacks. */
export const lock: Reader<Lock> = (value, at) => {
  const read = lockFields(value, at)
  const maced = read.kind !== 'device'
  const fits =
    (read.salt !== null) === (read.kind === 'password') &&
    (read.proof_hash !== null) === isReleasedForProof(read.kind) &&
    [read.account, read.manifest, read.mac].every((one) => (one !== null) === maced)
  if (!fits) {
    throw refused(`a field that does not fit the lock's kind, at ${at}`)
  }
  return read
}

/** What a lock's secret derives on the device. Made by `stretch`, `recoverySecret`, `prfSecret` and `deviceSecret`. */
export interface LockSecret {
  readonly kind: Kind
  /** Of the pair to seal to. */
  readonly sealSeed: Bytes
  /** Null for a device: it knows itself which account key it accepted last. */
  readonly macKey: Bytes | null
  /** Sent to have the lock released; the silo keeps its hash. Null where something else releases it. */
  readonly proof: Bytes | null
}

/** What the silo keeps of the proof. */
export async function proofHash(secret: LockSecret): Promise<Bytes | null> {
  return secret.proof && digest(labels.LOCK_PROOF_HASH, secret.proof)
}

/** 32 bytes that only this secret makes: which account key it locks, in which manifest; `of` is the lock's id. */
export async function lockMac(
  secret: LockSecret,
  silo: Bytes,
  user: Bytes,
  of: Bytes,
  account: Bytes,
  manifest: number,
): Promise<Bytes | null> {
  return secret.macKey && mac(secret.macKey, labels.LOCK_MAC, silo, user, of, account, u64(manifest))
}

/** 32 bytes by Argon2id (64 MiB, 3 passes) from a password in NFKC and UTF-8; `salt` has 16 bytes.
 *
 * Some tenths of a second: in a page it belongs into a worker. `bad_password` for an empty one, for a lone surrogate,
 * which has no UTF-8, and for what Unicode 14.0 does not assign: another Unicode may put another character in its
 * place, and who has that would be locked out. */
export async function stretchText(password: string, salt: Bytes): Promise<Bytes> {
  if (!password) {
    throw new SiloError('bad_password', 'it is empty')
  }
  if (!isAssigned(password)) {
    throw new SiloError('bad_password', 'not every device knows one of its characters')
  }
  const said = utf8(password.normalize('NFKC'))
  return new Uint8Array(
    await argon2id({
      password: said,
      salt,
      parallelism: 1,
      iterations: PASSES,
      memorySize: MEMORY_KIB,
      hashLength: 32,
      outputType: 'binary',
    }),
  )
}

// Silo id and genesis pin are in every derivation, so that a proof given to a false silo is worth nothing at the true
// one; the kind, so that no kind's bytes pass for another's.
async function secretOf(of: Kind, key: Bytes, silo: Bytes, genesis: Bytes): Promise<LockSecret> {
  const made = (label: string) => derive(key, label, utf8(of), silo, genesis)
  const proof = isReleasedForProof(of) ? await made(labels.LOCK_PROOF) : null
  return { kind: of, sealSeed: await made(labels.LOCK_SEAL), macKey: await made(labels.LOCK_MAC_KEY), proof }
}

/** What a password derives; `storedSalt` has 16 bytes. As `stretchText`. */
export async function stretch(password: string, storedSalt: Bytes, silo: Bytes, genesis: Bytes): Promise<LockSecret> {
  const salt = (await digest(labels.LOCK_SALT, silo, genesis, storedSalt)).slice(0, SALT_SIZE)
  return secretOf('password', await stretchText(password, salt), silo, genesis)
}

/** What a recovery sheet's 32 random bytes derive. Refuses another size. */
export function recoverySecret(code: Bytes, silo: Bytes, genesis: Bytes): Promise<LockSecret> {
  return secretOf('recovery', whole(code), silo, genesis)
}

/** What the 32 bytes derive that a passkey's PRF gives for the silo's salt. Refuses another size. */
export function prfSecret(output: Bytes, silo: Bytes, genesis: Bytes): Promise<LockSecret> {
  return secretOf('prf', whole(output), silo, genesis)
}

/** The device's own X-Wing key (its 32-byte seed) is the pair. Refuses another size. */
export function deviceSecret(sealSeed: Bytes): LockSecret {
  return { kind: 'device', sealSeed: whole(sealSeed), macKey: null, proof: null }
}

function whole(secret: Bytes): Bytes {
  if (secret.length !== SEED_SIZE) {
    throw refused("a lock's secret has 32 bytes")
  }
  return secret
}

/** What a lock's `sealed` is bound to, beside its label; `of` is its id (SPEC 9.2). */
export function lockContext(silo: Bytes, user: Bytes, what: Kind, of: Bytes): Bytes[] {
  return [silo, user, utf8(what), of]
}

/** An account key's seed, sealed to a lock's public half. */
export async function sealLock(
  to: Recipient,
  what: Kind,
  of: Bytes,
  account: AccountKey,
  silo: Bytes,
  genesis: Bytes,
  user: Bytes,
): Promise<string> {
  const inner = pack(labels.LOCK, account.seed, silo, genesis)
  return b64(await to.seal(inner, labels.LOCK_SEAL, ...lockContext(silo, user, what, of)))
}

/** The account key behind a secret that is at hand; `of` is the lock's id (16 bytes), `manifest` the version that lists
 * it, `salt` what a password was stretched with. */
export async function makeLock(
  secret: LockSecret,
  of: Bytes,
  account: AccountKey,
  silo: Bytes,
  genesis: Bytes,
  user: Bytes,
  manifest = FIRST_MANIFEST,
  salt: Bytes | null = null,
): Promise<Lock> {
  const pair = await recipientOf(secret.sealSeed)
  const said = await lockMac(secret, silo, user, of, account.fingerprint, manifest)
  const hashed = await proofHash(secret)
  return {
    version: 1,
    id: b32(of),
    kind: secret.kind,
    salt: salt && b32(salt),
    proof_hash: hashed && b32(hashed),
    public: b64(pair.public),
    sealed: await sealLock(pair, secret.kind, of, account, silo, genesis, user),
    account: said && b32(account.fingerprint),
    manifest: said && manifest,
    mac: said && b32(said),
  }
}

/** The account key behind a password, under a fresh id and salt. `silo` and `user` are 16 bytes, `genesis` 32. As
 * `stretchText`. */
export async function makePasswordLock(
  password: string,
  account: AccountKey,
  silo: Bytes,
  genesis: Bytes,
  user: Bytes,
  manifest = FIRST_MANIFEST,
): Promise<Lock> {
  const salt = random(SALT_SIZE)
  const secret = await stretch(password, salt, silo, genesis)
  return makeLock(secret, random(16), account, silo, genesis, user, manifest, salt)
}

/** The 16 bytes that `stretch` wants. Refuses a lock that is no password's. */
export function lockSalt(one: Lock): Bytes {
  if (one.salt === null) {
    throw refused("no password's lock")
  }
  return idBytes(one.salt)
}

// --- the manifest (SPEC 9.3) ---

/** A lock as the manifest names it: whoever rotates the account key seals the new one to this public half. */
export interface ListedLock {
  readonly id: string
  readonly kind: Kind
  readonly public: string
}

/** All of an account key's locks, at one version. */
export interface Manifest {
  readonly format: typeof MANIFEST_FORMAT
  readonly silo: string
  readonly user: string
  readonly version: number
  /** The account key's fingerprint. */
  readonly account: string
  readonly locks: readonly ListedLock[]
}
const manifestFields = object<Manifest>({
  format: oneOf(MANIFEST_FORMAT),
  silo: id,
  user: id,
  version: count,
  account: hash,
  locks: list(object<ListedLock>({ id, kind, public: blob })),
})

/** A manifest as it travels and as it is stored: `manifest` is the JSON text that the MAC covers, to the byte. */
export interface SignedManifest {
  readonly manifest: string
  readonly mac: string
}
export const signedManifest = object<SignedManifest>({ manifest: text, mac: hash })

/** The manifest that lists these locks, in this order. */
export async function stateManifest(
  account: AccountKey,
  silo: Bytes,
  user: Bytes,
  version: number,
  locks: readonly ListedLock[],
): Promise<SignedManifest> {
  const said = writeJson({
    format: MANIFEST_FORMAT,
    silo: b32(silo),
    user: b32(user),
    version,
    account: b32(account.fingerprint),
    locks: locks.map((one) => ({ id: one.id, kind: one.kind, public: one.public })),
  })
  return { manifest: unutf8(said), mac: b32(await account.mac(labels.LOCK_MANIFEST, said)) }
}

/** What a manifest says, not yet proven. `header_failure`. */
export function parseManifest(signed: SignedManifest): Promise<Manifest> {
  return refusedAs('header_failure', () => {
    const manifest = readJson(utf8(signed.manifest), manifestFields)
    if (manifest.version < FIRST_MANIFEST || !manifest.locks.length) {
      throw refused('it lists no lock')
    }
    for (const names of [manifest.locks.map((one) => one.id), manifest.locks.map((one) => one.public)]) {
      if (new Set(names).size !== names.length) throw refused('a lock stands twice')
    }
    manifest.locks.forEach((one) => hpke.checkPublic(unb64(one.public)))
    return manifest
  })
}

/** The manifest, if this account key's holder wrote it and none newer than `least` was seen.
 *
 * `forged` for another silo's, user's or account key's and for a MAC that does not fit, `header_failure` where it is not
 * well formed, `stale` for a version below `least`. */
export async function readManifest(
  signed: SignedManifest,
  account: AccountKey,
  silo: Bytes,
  user: Bytes,
  least: number | bigint = 0,
): Promise<Manifest> {
  const fits = await refusedAs('forged', async () =>
    same(await account.mac(labels.LOCK_MANIFEST, utf8(signed.manifest)), hashBytes(signed.mac)),
  )
  if (!fits) {
    throw new SiloError('forged', 'the manifest of the locks')
  }
  const manifest = await parseManifest(signed)
  if (
    manifest.silo !== b32(silo) ||
    manifest.user !== b32(user) ||
    manifest.account !== b32(account.fingerprint)
  ) {
    throw new SiloError('forged', "the manifest is another's")
  }
  if (manifest.version < least) {
    throw new SiloError('stale', `version ${manifest.version} of the manifest, and ${least} was seen`)
  }
  return manifest
}
