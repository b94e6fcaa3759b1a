// The directory: an administrator's word on which account key is whose (SPEC 8.8).
//
// Whoever lacks a user's seed learns the account's keys here: an admin key signs each entry, and nothing else counts.

import { SiloError, refused, refusedAs } from '../errors.ts'
import { type Bytes, readU64, same, u64 } from './bytes.ts'
import { b32, b64, isName, unb64, unutf8, utf8 } from './encoding.ts'
import { blob, hash, object } from './json.ts'
import { type Keyring, admins } from './keyring.ts'
import { type AdminKey, SIGN_SIZE, verify } from './keys.ts'
import * as labels from './labels.ts'
import { pack, unpack } from './labels.ts'

/** An entry as it travels and as it is stored. */
export interface SignedEntry {
  readonly statement: string
  /** Fingerprint of the admin key that signed. */
  readonly signer: string
  readonly signature: string
}
export const signedEntry = object<SignedEntry>({ statement: blob, signer: hash, signature: blob })

/** Whose account key it is. All fields but the name and the time are raw bytes. */
export interface Entry {
  readonly silo: Bytes
  readonly user: Bytes
  /** By which people know the user (SPEC 5.6). */
  readonly name: string
  /** The account key's fingerprint, 32 bytes. */
  readonly account: Bytes
  /** The account's signing key (Ed25519), 32 bytes. */
  readonly sign: Bytes
  /** Milliseconds since 1970. */
  readonly time: bigint
}

/** The bytes that are signed. */
export function entryStatement(entry: Entry): Bytes {
  const { silo, user, name, account, sign, time } = entry
  return pack(labels.DIRECTORY_ENTRY, silo, user, utf8(name), account, sign, u64(time))
}

/** The entry as this admin key signs it. */
export async function signEntry(admin: AdminKey, entry: Entry): Promise<SignedEntry> {
  const said = entryStatement(entry)
  return {
    statement: b64(said),
    signer: b32(admin.public.fingerprint),
    signature: b64(await admin.signer.sign(labels.DIRECTORY_ENTRY, said)),
  }
}

/** The entry, if a live admin of this keyring signed it for this silo. `forged`.
 *
 * `keyring` is the one in force: what a revoked admin signed has to be signed again. */
export async function readEntry(signed: SignedEntry, keyring: Keyring): Promise<Entry> {
  const key = (await admins(keyring)).get(signed.signer)
  const [said, signature, entry] = await refusedAs('forged', () => {
    const statement = unb64(signed.statement)
    const fields = unpack(labels.DIRECTORY_ENTRY, statement, 6)
    if ([16, 16, null, 32, SIGN_SIZE, 8].some((size, at) => size !== null && fields[at]?.length !== size)) {
      throw refused('a field has another size')
    }
    const [silo, user, spelled, account, sign, time] = fields as unknown as [Bytes, Bytes, Bytes, Bytes, Bytes, Bytes]
    const name = unutf8(spelled)
    if (!isName(name)) {
      throw refused('not a name')
    }
    const read: Entry = { silo, user, name, account, sign, time: readU64(time) }
    return [statement, unb64(signed.signature), read] as const
  })
  if (b32(entry.silo) !== keyring.document.silo || !key) {
    throw new SiloError('forged')
  }
  await verify(key, signature, labels.DIRECTORY_ENTRY, said)
  return entry
}

/** user in base32 -> the newest entry; `seen` has the time of the newest that the reader met before.
 *
 * `forged` for two that differ with one time, `stale` where a user's is older than what was seen, or gone. */
export function newest(
  entries: readonly Entry[],
  seen: ReadonlyMap<string, bigint> = new Map(),
): ReadonlyMap<string, Entry> {
  const found = new Map<string, Entry>()
  const met = new Map<string, Entry>()
  for (const entry of entries) {
    const user = b32(entry.user)
    const key = `${user} ${entry.time}`
    const other = met.get(key)
    if (other && !same(entryStatement(other), entryStatement(entry))) {
      throw new SiloError('forged', 'two entries of one time')
    }
    met.set(key, entry)
    const before = found.get(user)
    if (!before || before.time < entry.time) {
      found.set(user, entry)
    }
  }
  for (const [user, time] of seen) {
    const entry = found.get(user)
    if (!entry || entry.time < time) {
      throw new SiloError('stale', 'the directory has an older entry than was seen')
    }
  }
  return found
}
