// What stays where a record was deleted, and the silo's word that its bytes are gone (SPEC 7.7).

import { SiloError, refused, refusedAs } from '../errors.ts'
import { type Bytes, any, readU64, same, u64 } from './bytes.ts'
import { b32, hashBytes, unutf8 } from './encoding.ts'
import { type Keyring, keyringIdentity } from './keyring.ts'
import { type Signer, verify } from './keys.ts'
import * as labels from './labels.ts'
import { digest, pack, unpack } from './labels.ts'

/** Where bytes may outlive their deletion, in the order in which a receipt names them. */
export const PLACES = ['wal', 'replicas', 'backups'] as const
const DAY = 86_400_000n
/** How far two clocks may be apart, in milliseconds (SPEC 4.3). */
const CLOCKS = 10 * 60_000

const SIZES = [16, 16, 8, 32, 32, 8, 16, null, 8, 32, 8]

/** Which record is meant: what the user's log says of it. */
export interface Erased {
  readonly silo: Bytes
  readonly user: Bytes
  readonly index: number
  readonly coreHash: Bytes
  readonly entryHash: Bytes
}

/** Who deleted which record, when, and under which keyring's policy. */
export interface Tombstone {
  readonly erased: Erased
  /** The record's own time, in milliseconds. */
  readonly made: number
  /** The device's id; zeros where the policy did. */
  readonly who: Bytes
  readonly why: 'user' | 'retention'
  readonly keyringVersion: number
  readonly keyringHash: Bytes
  /** When it was deleted, in milliseconds. */
  readonly time: number
}

/** The bytes that are signed. */
export function tombstoneStatement(one: Tombstone): Bytes {
  const { silo, user, index, coreHash, entryHash } = one.erased
  return pack(
    labels.TOMBSTONE,
    silo,
    user,
    u64(index),
    coreHash,
    entryHash,
    u64(one.made),
    one.who,
    new TextEncoder().encode(one.why),
    u64(one.keyringVersion),
    one.keyringHash,
    u64(one.time),
  )
}

/** The signature of the user's device. */
export function signTombstone(signer: Signer, statement: Bytes): Promise<Bytes> {
  return signer.sign(labels.TOMBSTONE, statement)
}

/** A number in 8 bytes, below 2^53 as everywhere. Refuses others. */
export function readNumber(spelled: Bytes): number {
  const number = spelled.length === 8 ? readU64(spelled) : -1n
  if (number < 0n || number >= 2n ** 53n) {
    throw refused('not a number below 2^53 in 8 bytes')
  }
  return Number(number)
}

type Eleven = [Bytes, Bytes, Bytes, Bytes, Bytes, Bytes, Bytes, Bytes, Bytes, Bytes, Bytes]

/** What a statement says; nobody's signature is checked. `forged` where it is not well formed. */
export function readTombstone(statement: Bytes): Promise<Tombstone> {
  return refusedAs('forged', () => {
    const fields = unpack(labels.TOMBSTONE, statement, SIZES.length)
    if (SIZES.some((size, at) => size !== null && fields[at]!.length !== size)) {
      throw refused('a field has another size')
    }
    const [silo, user, index, core, entry, made, who, why, version, hash, time] = fields as readonly Bytes[] as Eleven
    const reason = unutf8(why)
    if ((reason !== 'user' && reason !== 'retention') || any(who) !== (reason === 'user')) {
      throw refused('neither a user nor the policy')
    }
    return {
      erased: { silo, user, index: readNumber(index), coreHash: core, entryHash: entry },
      made: readNumber(made),
      who,
      why: reason,
      keyringVersion: readNumber(version),
      keyringHash: hash,
      time: readNumber(time),
    }
  })
}

/** The tombstone, if it is a valid one for the record `erased`.
 *
 * `keyrings` are the versions that the opener has accepted, `devices` the user's: id in base32 -> Ed25519 public keys.
 * `forged` for another record, a keyring that was not accepted, that another had followed by then or whose policy does
 * not allow it, a time before the record's own, and whoever may not sign it. */
export async function checkTombstone(
  statement: Bytes,
  signature: Bytes,
  erased: Erased,
  keyrings: readonly Keyring[],
  devices: ReadonlyMap<string, readonly Bytes[]>,
): Promise<Tombstone> {
  const tombstone = await readTombstone(statement)
  const said = tombstone.erased
  const meant =
    same(said.silo, erased.silo) &&
    same(said.user, erased.user) &&
    said.index === erased.index &&
    same(said.coreHash, erased.coreHash) &&
    same(said.entryHash, erased.entryHash)
  if (!meant) {
    throw new SiloError('forged', "the tombstone is another record's")
  }
  const keyring = keyrings.find(
    (one) => one.document.version === tombstone.keyringVersion && same(one.hash, tombstone.keyringHash),
  )
  if (!keyring) {
    throw new SiloError('forged', 'the tombstone names a keyring that was not accepted')
  }
  const following = keyrings.find((one) => one.document.version === tombstone.keyringVersion + 1)
  if (following && tombstone.time >= following.document.time + CLOCKS) {
    throw new SiloError('forged', 'the keyring that the tombstone names was no longer in force')
  }
  if (tombstone.time + CLOCKS < tombstone.made) {
    throw new SiloError('forged', 'it was deleted before it was made')
  }
  if (!(await signedByOne(signersOf(tombstone, keyring, devices), signature, labels.TOMBSTONE, statement))) {
    throw new SiloError('forged', 'the tombstone is not signed by who says to have deleted')
  }
  return tombstone
}

// The public keys that may sign it, if the policy allows it at all.
function signersOf(
  tombstone: Tombstone,
  keyring: Keyring,
  devices: ReadonlyMap<string, readonly Bytes[]>,
): readonly Bytes[] {
  const { policy, spare } = keyring.document
  if (tombstone.why === 'user') {
    const keys = devices.get(b32(tombstone.who))
    if (!policy.user_deletion) throw new SiloError('forged', 'the policy does not let people delete')
    if (!keys) throw new SiloError('forged', 'an unknown device signed the tombstone')
    return keys
  }
  if (policy.retention_days === null) {
    throw new SiloError('forged', 'the policy has no retention')
  }
  if (BigInt(tombstone.time - tombstone.made) < BigInt(policy.retention_days) * DAY) {
    throw new SiloError('forged', 'it was deleted before the policy allows it')
  }
  return [keyringIdentity(keyring), ...(spare === null ? [] : [hashBytes(spare)])]
}

async function signedByOne(
  signers: readonly Bytes[],
  signature: Bytes,
  label: string,
  said: Bytes,
): Promise<boolean> {
  for (const signer of signers) {
    try {
      await verify(signer, signature, label, said)
      return true
    } catch (error) {
      if (!(error instanceof SiloError)) throw error
    }
  }
  return false
}

// --- the silo's word ---

/** What the silo signs once the bytes are gone from its live store. */
export interface Deletion {
  readonly tombstoneHash: Bytes
  readonly time: number
  /** Until when the places in `also` may hold the bytes, in milliseconds; null: the operator has not said. */
  readonly until: number | null
  /** Some of PLACES. */
  readonly also: readonly string[]
}

/** Over a tombstone's statement: deletion receipts carry this one. */
export function tombstoneHash(statement: Bytes): Promise<Bytes> {
  return digest(labels.TOMBSTONE_HASH, statement)
}

/** The deletion receipt, if one of the certified identities signed it for exactly this tombstone. `forged`. */
export async function checkDeletion(
  receipt: Bytes,
  statement: Bytes,
  identities: readonly Bytes[],
): Promise<Deletion> {
  const said = receipt.slice(0, -64)
  if (!(await signedByOne(identities, receipt.slice(-64), labels.DELETION, said))) {
    throw new SiloError('forged', "the deletion receipt is not the silo's")
  }
  const read = await refusedAs('forged', () => {
    const [hashed, spelled, end, named] = unpack(labels.DELETION, said, 4) as [Bytes, Bytes, Bytes, Bytes]
    const time = readNumber(spelled)
    const until = end.length ? readNumber(end) : null
    const text = unutf8(named)
    const also = PLACES.filter((place) => text.split(',').includes(place))
    if (also.join(',') !== text || (until !== null && until < time)) {
      throw refused('the deletion receipt is damaged')
    }
    return { tombstoneHash: hashed, time, until, also }
  })
  if (!same(read.tombstoneHash, await tombstoneHash(statement))) {
    throw new SiloError('forged', "the deletion receipt is another record's")
  }
  return read
}
