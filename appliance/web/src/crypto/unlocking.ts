// Opening locks, and the walk from an opened seed back to the account key that its person accepted (SPEC 9.2, 9.5).

import { SiloError, refusedAs } from '../errors.ts'
import { type Bytes, same } from './bytes.ts'
import { hashBytes, idBytes, unb64 } from './encoding.ts'
import * as hpke from './hpke.ts'
import { AccountKey } from './keys.ts'
import * as labels from './labels.ts'
import { pack, unpack } from './labels.ts'
import { type Lock, type LockSecret, lockContext, lockMac } from './locks.ts'
import { type Rotated, type Rotation, parseRotation, readRotation, rotatedStatement } from './rotation.ts'

/** What a lock gave, proven. */
export interface Unlocked {
  /** The newest account key first, back to the one that the lock or the device had accepted; to the directory's, where
   * that is older. */
  readonly keys: readonly AccountKey[]
  /** The lowest version that the account's manifest can have: what `readManifest` wants as `least`. */
  readonly manifest: bigint
  /** Whether the account key in force is the very one that the directory lists. Where it is not, or no directory was at
   * hand, a sign-in compares it with another device of its person's (SPEC 9.5). */
  readonly listed: boolean
}

/** The account key behind a lock; `rotations` are all that the silo has of this account, oldest first, `accepted` is the
 * fingerprint of the account key that this device accepted last (its own lock needs it), `listed` that of the newest
 * entry of the directory (SPEC 8.8).
 *
 * `no_match` for another secret; `forged` where silo, genesis pin or the lock's MAC are not those expected, its public
 * half is not the secret's (a later seed would be sealed to that), or no rotation leads from the key that the MAC names,
 * or from `listed`, to the one inside; `stale` where the silo has rotated on from the one inside. */
export async function openLock(
  lock: Lock,
  secret: LockSecret,
  silo: Bytes,
  genesis: Bytes,
  user: Bytes,
  rotations: readonly Rotation[] = [],
  accepted: Bytes | null = null,
  listed: Bytes | null = null,
): Promise<Unlocked> {
  const key = await hpke.PrivateKey.from(secret.sealSeed)
  const context = lockContext(silo, user, lock.kind, idBytes(lock.id))
  const plain = await key.open(unb64(lock.sealed), pack(labels.LOCK_SEAL, ...context))
  if (lock.kind !== secret.kind || !same(unb64(lock.public), key.public)) {
    throw new SiloError('forged', "the lock is not this secret's")
  }
  const newest = await refusedAs('forged', async () => {
    const [seed, innerSilo, innerGenesis] = unpack(labels.LOCK, plain, 3) as [Bytes, Bytes, Bytes]
    const account = await AccountKey.from(seed)
    if (!same(innerSilo, silo) || !same(innerGenesis, genesis)) {
      throw new SiloError('forged', 'the lock is for another silo')
    }
    return account
  })
  const { start, version } = await named(lock, secret, silo, user, accepted)
  let keys = await walkBack(newest, rotations, silo, user, start)
  const said = await parseAll(rotations)
  const steps = said.slice(said.length - keys.length + 1)
  if (steps[0] && steps[0].manifest <= version) {
    throw new SiloError('forged', 'a rotation from before the lock was proven')
  }
  if (listed && !keys.some((one) => same(one.fingerprint, listed))) {
    // The lock was proven since: what leads on from the directory's key has to be proven all the same.
    keys = await walkBack(newest, rotations, silo, user, listed)
  }
  const least = said.reduce((most, one) => (one.manifest > most ? one.manifest : most), version)
  return { keys, manifest: least, listed: listed !== null && same(newest.fingerprint, listed) }
}

// Fingerprint of the account key that the lock's secret accepted last, and the manifest's version then.
async function named(
  lock: Lock,
  secret: LockSecret,
  silo: Bytes,
  user: Bytes,
  accepted: Bytes | null,
): Promise<{ start: Bytes; version: bigint }> {
  if (lock.account === null || lock.manifest === null || lock.mac === null) {
    if (!accepted) {
      throw new SiloError('forged', "a device's lock proves nothing to who has accepted no account key")
    }
    return { start: accepted, version: 0n }
  }
  const start = hashBytes(lock.account)
  const proof = await lockMac(secret, silo, user, idBytes(lock.id), start, lock.manifest)
  if (!proof || !same(proof, hashBytes(lock.mac))) {
    throw new SiloError('forged', "the lock's proof")
  }
  return { start, version: BigInt(lock.manifest) }
}

function parseAll(rotations: readonly Rotation[]): Promise<Rotated[]> {
  return Promise.all(rotations.map(parseRotation))
}

/** The account keys from `newest` back to the one with fingerprint `start` (null: the first of all), newest first.
 *
 * `rotations` are all that the silo has of this account, oldest first. `forged` for a chain with a gap, a fork or another
 * order, for a seed or a `start` that it does not lead to and for any proof that does not fit; `stale` where `newest` is
 * one that the chain goes on from. */
export async function walkBack(
  newest: AccountKey,
  rotations: readonly Rotation[],
  silo: Bytes,
  user: Bytes,
  start: Bytes | null = null,
): Promise<AccountKey[]> {
  const said = await parseAll(rotations)
  const marks = chain(said, newest.fingerprint)
  if (marks.slice(0, -1).some((mark) => same(mark, newest.fingerprint))) {
    throw new SiloError('stale', 'the account key has been rotated since')
  }
  const first = start ? marks.findIndex((mark) => same(mark, start)) : 0
  if (!same(newest.fingerprint, marks.at(-1)!) || first < 0) {
    throw new SiloError('forged', 'no rotation leads to the account key')
  }
  const keys = [newest]
  for (let at = said.length - 1; at >= first; at--) {
    keys.push(await before(keys.at(-1)!, rotations[at]!, said[at]!, silo, user))
  }
  return keys
}

// The fingerprints that the rotations go over, oldest first.
function chain(said: readonly Rotated[], alone: Bytes): Bytes[] {
  said.slice(1).forEach((other, at) => {
    const one = said[at]!
    if (!same(one.new, other.old) || one.manifest >= other.manifest) {
      throw new SiloError('forged', 'a rotation does not follow the one before')
    }
  })
  const marks = said[0] ? [said[0].old, ...said.map((one) => one.new)] : [alone]
  if (new Set(marks.map(String)).size !== marks.length) {
    throw new SiloError('forged', 'an account key comes back')
  }
  return marks
}

// The account key before this rotation, which brought `next`.
async function before(
  next: AccountKey,
  rotation: Rotation,
  rotated: Rotated,
  silo: Bytes,
  user: Bytes,
): Promise<AccountKey> {
  const statement = rotatedStatement(rotated)
  let old: AccountKey
  try {
    const key = await hpke.PrivateKey.from(next.seed)
    old = await AccountKey.from(await key.open(unb64(rotation.past), pack(labels.ACCOUNT_PAST, statement)))
  } catch (error) {
    if (!(error instanceof SiloError)) throw error
    throw new SiloError('forged', "a rotation's past does not open")
  }
  const fits =
    same(await old.mac(labels.ACCOUNT_ROTATION_MAC, statement), hashBytes(rotation.mac)) &&
    same(old.fingerprint, rotated.old) &&
    same(next.signer.public, rotated.sign)
  if (!fits) {
    throw new SiloError('forged', "a rotation is not the old account key's")
  }
  await readRotation(rotation, silo, user, old.signer.public)
  return old
}
