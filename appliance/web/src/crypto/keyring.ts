// The keyring: one signed JSON document a version, which says who may read what (SPEC 8). A browser verifies it; it is
// made and signed on the administrator's own device.

import { SiloError, refused, refusedAs } from '../errors.ts'
import { type Bytes, same, u64, zeros } from './bytes.ts'
import type { Seen } from './channel.ts'
import { b32, hashBytes, isName, unb64, utf8 } from './encoding.ts'
import * as hpke from './hpke.ts'
import { type Read, blob, count, flag, hash, id, list, millis, nullable, object, oneOf, readJson, text } from './json.ts'
import { type AdminPublic, Recipient, adminFingerprint, verify } from './keys.ts'
import * as labels from './labels.ts'
import { digest } from './labels.ts'

export const FORMAT = 'securesilo/1 keyring'

const holder = object({
  name: text,
  role: oneOf('admin', 'backup', 'auditor'),
  sign: nullable(hash),
  seal: blob,
  successor: flag,
  since: millis,
  revoked: nullable(millis),
})
const epoch = object({
  id: count,
  state: oneOf('current', 'draining', 'retired'),
  public: blob,
  halves: list(object({ holder: hash, sealed: blob })),
})
const policy = object({
  second_factor: oneOf('off', 'admins', 'all'),
  passkeys: oneOf('off', 'admins', 'all'),
  temporary_chats: flag,
  user_deletion: flag,
  retention_days: nullable(count),
  plain_api_behind_tls: flag,
  record_v1: flag,
  show_yourself_days: count,
  keyring_fresh_days: count,
})
const document = object({
  format: oneOf(FORMAT),
  silo: id,
  version: count,
  previous: nullable(hash),
  identity: hash,
  spare: nullable(hash),
  time: millis,
  holders: list(holder),
  epochs: list(epoch),
  extras: list(object({ user: id, recipient: blob })),
  waiver: nullable(object({ since: millis })),
  policy,
})

export type Holder = Read<typeof holder>
export type Epoch = Read<typeof epoch>
export type Document = Read<typeof document>

/** A keyring as it travels and as it is stored: `document` is the JSON text that was signed, to the byte. */
export interface SignedKeyring {
  readonly document: string
  /** Fingerprint of the admin key that signed. */
  readonly signer: string
  readonly signature: string
}
export const signedKeyring = object<SignedKeyring>({ document: text, signer: hash, signature: blob })

/** A verified keyring. Only `verifyKeyring` makes one. */
export interface Keyring {
  readonly signed: SignedKeyring
  readonly document: Document
  /** 32 bytes over the document. */
  readonly hash: Bytes
  /** Fingerprint of the admin key that signed version 1. */
  readonly genesis: Bytes
}

/** The public halves of a holder. Refuses what is not spelled right. */
export async function holderPublic(one: Holder): Promise<AdminPublic> {
  const sign = one.sign === null ? zeros(0) : hashBytes(one.sign)
  const seal = unb64(one.seal)
  return { sign, seal, fingerprint: await adminFingerprint(sign, seal) }
}

/** Version and hash, as a client sends them. */
export function keyringSeen(keyring: Keyring): Seen {
  return { at: keyring.document.version, hash: b32(keyring.hash) }
}

/** The silo's Ed25519 public key. */
export function keyringIdentity(keyring: Keyring): Bytes {
  return hashBytes(keyring.document.identity)
}

/** fingerprint in base32 -> Ed25519 public key of every live admin. */
export async function admins(keyring: Keyring): Promise<ReadonlyMap<string, Bytes>> {
  const live = keyring.document.holders.filter((one) => one.role === 'admin' && one.revoked === null)
  const read = await Promise.all(live.map(holderPublic))
  return new Map(read.map(({ sign, fingerprint }) => [b32(fingerprint), sign]))
}

/** The Ed25519 keys that may speak for the silo: the identity, then the spare; never one that is `former` to this
 * client, because it met the spare since (SPEC 8.7). `wrong_silo` for none. */
export function identities(keyring: Keyring, former: readonly Bytes[] = []): Bytes[] {
  const { identity, spare } = keyring.document
  const certified = [hashBytes(identity), ...(spare === null ? [] : [hashBytes(spare)])]
  const allowed = certified.filter((one) => !former.some((other) => same(one, other)))
  if (!allowed.length) {
    throw new SiloError('wrong_silo', 'the keyring certifies an identity that this device has given up')
  }
  return allowed
}

/** The current epoch's public half: every record is sealed to it. */
export function vault(keyring: Keyring): Promise<Recipient> {
  return Recipient.of(unb64(keyring.document.epochs.at(-1)!.public))
}

/** Further recipients of this user's records. */
export function extras(keyring: Keyring, user: string): Promise<Recipient[]> {
  const mine = keyring.document.extras.filter((extra) => extra.user === user)
  return Promise.all(mine.map((extra) => Recipient.of(unb64(extra.recipient))))
}

/** What a sealed half is bound to, beside its label: silo id, epoch, holder's fingerprint, the epoch's public key
 * (SPEC 8.3). */
export function halfContext(silo: string, one: Epoch, mark: Bytes): Bytes[] {
  return [utf8(silo), u64(one.id), mark, unb64(one.public)]
}

/** The keyring, if it may follow `previous` (null: it must be version 1, signed by the key that `pin` names).
 *
 * `header_failure` for a document that is not well formed, `wrong_silo`, `stale` for a version that does not rise by
 * one, `forged` for a chain, signer or signature that does not fit (SPEC 8.2). */
export async function verifyKeyring(
  signed: SignedKeyring,
  silo: Bytes,
  pin: Bytes,
  previous: Keyring | null = null,
): Promise<Keyring> {
  const [said, read, signature] = await refusedAs('header_failure', async () => {
    const bytes = utf8(signed.document)
    const parsed = readJson(bytes, document)
    const decoded = unb64(signed.signature)
    await checkDocument(parsed)
    return [bytes, parsed, decoded] as const
  })
  if (read.silo !== b32(silo)) {
    throw new SiloError('wrong_silo')
  }
  if (read.version !== (previous?.document.version ?? 0) + 1) {
    throw new SiloError('stale', `version ${read.version}`)
  }
  if (read.previous !== (previous && b32(previous.hash))) {
    throw new SiloError('forged', 'the keyring before is another')
  }
  const signers = new Map<string, Bytes>()
  for (const one of (previous?.document ?? read).holders) {
    if (one.revoked === null && (one.role === 'admin' || (one.successor && previous))) {
      const { sign, fingerprint } = await holderPublic(one)
      signers.set(b32(fingerprint), sign)
    }
  }
  const key = signers.get(signed.signer)
  if (!key || (!previous && signed.signer !== b32(pin))) {
    throw new SiloError('forged', "no administrator's key signed it")
  }
  await verify(key, signature, labels.KEYRING, said)
  const genesis = previous?.genesis ?? hashBytes(signed.signer)
  return { signed, document: read, hash: await digest(labels.KEYRING_HASH, said), genesis }
}

/** The last of `chain`, each of which follows the one before. As `verifyKeyring`; `stale` for none. */
export async function verifyChain(
  chain: readonly SignedKeyring[],
  silo: Bytes,
  pin: Bytes,
  after: Keyring | null = null,
): Promise<Keyring> {
  let last = after
  for (const signed of chain) {
    last = await verifyKeyring(signed, silo, pin, last)
  }
  if (!last) {
    throw new SiloError('stale', 'no keyring')
  }
  return last
}

// Refuses, naming what does not fit.
async function checkDocument(read: Document): Promise<void> {
  const live = new Set<string>()
  const revoked = new Set<string>()
  const marks = new Set<string>()
  for (const one of read.holders) {
    const { sign, seal, fingerprint } = await holderPublic(one)
    hpke.checkPublic(seal)
    const mark = b32(fingerprint)
    if (marks.has(mark)) throw refused('a holder stands twice')
    if (!isName(one.name)) throw refused("a holder's name is not 1 to 64 printable characters")
    if (!sign.length && (one.role === 'admin' || one.successor)) {
      throw refused('an admin or successor has no key to sign with')
    }
    marks.add(mark)
    if (one.revoked !== null) revoked.add(mark)
    else if (one.role !== 'auditor') live.add(mark)
  }
  if (!read.holders.some((one) => one.role === 'admin' && one.revoked === null)) throw refused('there is no admin')
  if ((read.waiver !== null) !== (live.size === 1)) {
    throw refused('the waiver stands exactly while one admin key is the only one that opens the vault')
  }
  if (read.epochs.some((one, at) => at > 0 && one.id <= read.epochs[at - 1]!.id)) throw refused('epochs do not rise')
  const current = read.epochs.filter((one) => one.state === 'current')
  if (current.length !== 1 || read.epochs.at(-1) !== current[0]) {
    throw refused('not exactly one epoch is current, or it is not the newest')
  }
  for (const one of read.epochs) {
    hpke.checkPublic(unb64(one.public))
    const held = new Set(one.halves.map((half) => half.holder))
    if (held.size !== one.halves.length || !held.isSubsetOf(marks)) throw refused("a sealed half is not one holder's")
    if (!held.isDisjointFrom(revoked)) throw refused("a sealed half is a revoked holder's")
    if (one.state === 'retired' && held.size) throw refused('a retired epoch has a private half')
    if (one.state !== 'retired' && !live.isSubsetOf(held)) throw refused('a holder lacks a sealed half')
    if (one.halves.some((half) => unb64(half.sealed).length !== hpke.OVERHEAD + hpke.SEED_SIZE)) {
      throw refused('a sealed half has the wrong size')
    }
  }
  if (read.spare === read.identity) throw refused('the spare is the identity')
  const openTo = new Set(read.holders.filter((one) => one.revoked === null).map((one) => one.seal))
  const listed = new Set(read.extras.map((extra) => `${extra.user} ${extra.recipient}`))
  if (listed.size !== read.extras.length) throw refused('an extra recipient stands twice for a user')
  if (!read.extras.every((extra) => openTo.has(extra.recipient))) {
    throw refused("an extra recipient is no live holder's key")
  }
}
