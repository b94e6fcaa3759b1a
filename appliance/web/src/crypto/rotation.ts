// Rotating an account key without anybody's password or touch (SPEC 9.4). What stands here makes and checks; the walk
// back over rotations, which opens, stands in unlocking.ts.
//
// A rotation is a statement with two proofs, the MAC of the old account key and the signature of the device that rotated,
// and beside it the old seed, sealed to the new account key.

import { SiloError, refused, refusedAs } from '../errors.ts'
import { type Bytes, readU64, same, u64 } from './bytes.ts'
import { b32, b64, idBytes, unb64 } from './encoding.ts'
import { blob, hash, id, object } from './json.ts'
import {
  type AccountKey,
  type Enrolment,
  Recipient,
  SIGN_SIZE,
  type Signer,
  checkVouch,
  readEnrolment,
  verify,
} from './keys.ts'
import * as labels from './labels.ts'
import { pack, unpack } from './labels.ts'
import { type Manifest, type SignedManifest, sealLock, stateManifest } from './locks.ts'

/** An enrolment and the account's word on it (SPEC 6). */
export interface Vouched {
  readonly statement: string
  readonly signature: string
  readonly vouch: string
}
export const vouched = object<Vouched>({ statement: blob, signature: blob, vouch: blob })

/** A rotation as it travels and as it is stored. Nothing in it is secret. */
export interface Rotation {
  readonly statement: string
  /** By the old account key. */
  readonly mac: string
  /** By the rotating device. */
  readonly signature: string
  /** The rotating device's, vouched for by the old account key. */
  readonly enrolment: Vouched
  /** The old seed, sealed to the new account key. */
  readonly past: string
}
export const rotation = object<Rotation>({ statement: blob, mac: hash, signature: blob, enrolment: vouched, past: blob })

/** What a rotation states. All fields but the numbers are raw bytes. */
export interface Rotated {
  readonly silo: Bytes
  readonly user: Bytes
  /** Fingerprint of the account key before. */
  readonly old: Bytes
  readonly new: Bytes
  /** The new account's signing key (Ed25519), so that who knew the old one goes on to it. */
  readonly sign: Bytes
  /** Version of the lock manifest that came with it. */
  readonly manifest: bigint
  readonly device: Bytes
  /** Milliseconds since 1970. */
  readonly time: bigint
}

/** The bytes that are signed and MACed; a sealed old seed is bound to them too. */
export function rotatedStatement(one: Rotated): Bytes {
  const numbers = [u64(one.manifest), one.device, u64(one.time)]
  return pack(labels.ACCOUNT_ROTATION, one.silo, one.user, one.old, one.new, one.sign, ...numbers)
}

type Eight = readonly [Bytes, Bytes, Bytes, Bytes, Bytes, Bytes, Bytes, Bytes]

/** What a rotation states, not yet proven. `forged` where it is not well formed. */
export function parseRotation(one: Rotation): Promise<Rotated> {
  return refusedAs('forged', () => {
    const fields = unpack(labels.ACCOUNT_ROTATION, unb64(one.statement), 8)
    if ([16, 16, 32, 32, SIGN_SIZE, 8, 16, 8].some((size, at) => fields[at]?.length !== size)) {
      throw refused('a field has another size')
    }
    const [silo, user, old, next, sign, manifest, device, time] = fields as unknown as Eight
    return { silo, user, old, new: next, sign, manifest: readU64(manifest), device, time: readU64(time) }
  })
}

/** What a rotation states and the device that made it, as far as everybody can check it who knows the signing key `sign`
 * of the account key before. `forged`. */
export async function readRotation(
  one: Rotation,
  silo: Bytes,
  user: Bytes,
  sign: Bytes,
): Promise<{ rotated: Rotated; device: Enrolment }> {
  const rotated = await parseRotation(one)
  const [said, signature, vouch, signed] = await refusedAs('forged', () => {
    const { enrolment } = one
    return [enrolment.statement, enrolment.signature, enrolment.vouch, one.signature].map(unb64) as [
      Bytes,
      Bytes,
      Bytes,
      Bytes,
    ]
  })
  const device = await readEnrolment(said, signature)
  const named =
    same(rotated.silo, silo) &&
    same(rotated.user, user) &&
    same(rotated.device, device.device) &&
    same(device.silo, silo) &&
    same(device.user, user)
  if (!named) {
    throw new SiloError('forged', 'a rotation of another user, or by another device')
  }
  await checkVouch(sign, rotated.old, vouch, said, signature)
  await verify(device.sign, signed, labels.ACCOUNT_ROTATION, rotatedStatement(rotated))
  return { rotated, device }
}

/** From an account key whose fingerprint and signing key the reader trusts, on over the rotations that come after it:
 * fingerprint and signing key of the newest. For who has no seed. `forged`. */
export async function follow(
  rotations: readonly Rotation[],
  silo: Bytes,
  user: Bytes,
  account: Bytes,
  sign: Bytes,
): Promise<{ account: Bytes; sign: Bytes }> {
  let begun = false
  let last = { account, sign }
  for (const one of rotations) {
    if (!begun && !same((await parseRotation(one)).old, last.account)) {
      continue
    }
    begun = true
    const { rotated } = await readRotation(one, silo, user, last.sign)
    if (!same(rotated.old, last.account)) {
      throw new SiloError('forged', 'a rotation does not follow the one before')
    }
    last = { account: rotated.new, sign: rotated.sign }
  }
  return last
}

/** `device` (its enrolment vouched for by `old`) replaces `old` with `next`; `manifest` is the new one's version.
 *
 * Refuses an enrolment that is misspelled; `forged` for one that its device did not sign. */
export async function makeRotation(
  old: AccountKey,
  next: AccountKey,
  device: Signer,
  enrolment: Vouched,
  manifest: number,
  silo: Bytes,
  user: Bytes,
  now: number,
): Promise<Rotation> {
  const enrolled = await readEnrolment(unb64(enrolment.statement), unb64(enrolment.signature))
  const said = rotatedStatement({
    silo,
    user,
    old: old.fingerprint,
    new: next.fingerprint,
    sign: next.signer.public,
    manifest: BigInt(manifest),
    device: enrolled.device,
    time: BigInt(now),
  })
  return {
    statement: b64(said),
    mac: b32(await old.mac(labels.ACCOUNT_ROTATION_MAC, said)),
    signature: b64(await device.sign(labels.ACCOUNT_ROTATION, said)),
    enrolment,
    past: b64(await next.recipient.seal(old.seed, labels.ACCOUNT_PAST, said)),
  }
}

/** An enrolment and when its account revoked it (null: live). */
export interface Listed {
  readonly enrolment: Vouched
  readonly revoked: number | null
}

/** The enrolments of an account as `next` vouches for them.
 *
 * `listed` are those that the silo has, `known` those that the person was shown and knows: device id in base32 -> since
 * when it is revoked, null for live. Whoever stole the old seed has enrolled devices too, so what is not known is revoked
 * from the beginning of time; what was revoked stays so (SPEC 6.2). `forged` for what `old` did not vouch for. */
export async function vouchAnew(
  old: AccountKey,
  next: AccountKey,
  listed: readonly Listed[],
  silo: Bytes,
  user: Bytes,
  known: ReadonlyMap<string, number | null>,
): Promise<Listed[]> {
  const anew: Listed[] = []
  for (const { enrolment, revoked: before } of listed) {
    const [said, signature, vouch] = await refusedAs(
      'forged',
      () => [enrolment.statement, enrolment.signature, enrolment.vouch].map(unb64) as [Bytes, Bytes, Bytes],
    )
    const device = await readEnrolment(said, signature)
    await checkVouch(old.signer.public, old.fingerprint, vouch, said, signature, before)
    if (!same(device.silo, silo) || !same(device.user, user)) {
      throw new SiloError('forged', "another user's device")
    }
    const name = b32(device.device)
    const now = known.has(name) ? known.get(name)! : 0
    const times = [before, now].filter((time) => time !== null)
    const revoked = times.length ? Math.min(...times) : null
    anew.push({ enrolment: { ...enrolment, vouch: b64(await next.vouch(said, signature, revoked)) }, revoked })
  }
  return anew
}

/** What a rotation changes of a lock: all else of it only its secret could make anew. */
export interface Resealed {
  readonly id: string
  readonly sealed: string
}
export const resealed = object<Resealed>({ id, sealed: blob })

/** `next` sealed to every lock that `before` lists but those in `drop` (ids), and the manifest that follows.
 *
 * The caller has verified `before` under the old account key: no other public half is sealed to. Refuses to leave no
 * lock. */
export async function nextLocks(
  before: Manifest,
  next: AccountKey,
  genesis: Bytes,
  drop: readonly string[] = [],
): Promise<{ locks: readonly Resealed[]; manifest: SignedManifest }> {
  const silo = idBytes(before.silo)
  const user = idBytes(before.user)
  const kept = before.locks.filter((one) => !drop.includes(one.id))
  if (!kept.length) {
    throw refused('an account key has a lock')
  }
  const locks: Resealed[] = []
  for (const one of kept) {
    const to = await Recipient.of(unb64(one.public))
    locks.push({ id: one.id, sealed: await sealLock(to, one.kind, idBytes(one.id), next, silo, genesis, user) })
  }
  return { locks, manifest: await stateManifest(next, silo, user, before.version + 1, kept) }
}

/** `forged` unless `after` is the manifest that this rotation brought: next after `before`, of the version stated, of the
 * new account key, and with no lock that `before` did not list. */
export function checkNext(rotated: Rotated, before: Manifest, after: Manifest): void {
  const known = before.locks.map((one) => JSON.stringify([one.id, one.kind, one.public]))
  const fits =
    after.silo === b32(rotated.silo) &&
    after.user === b32(rotated.user) &&
    before.account === b32(rotated.old) &&
    after.account === b32(rotated.new) &&
    BigInt(after.version) === rotated.manifest &&
    after.version === before.version + 1 &&
    after.locks.every((one) => known.includes(JSON.stringify([one.id, one.kind, one.public])))
  if (!fits) {
    throw new SiloError('forged', "the manifest is not the rotation's")
  }
}
