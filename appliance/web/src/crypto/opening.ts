// Reading what a silo wrote, with a private key that no silo has (SPEC 7, 10).

import { SiloError, refused, refusedAs } from '../errors.ts'
import { type BagKeys, type BagPlace, bagFields, readBag } from './bags.ts'
import { type Bytes, readU64, same } from './bytes.ts'
import { HASH_SIZE, b32, hashBytes, unb64 } from './encoding.ts'
import { WholeOpener } from './frames.ts'
import * as hpke from './hpke.ts'
import { type Keyring, halfContext } from './keyring.ts'
import { type AdminKey, fingerprint, recipientOf, verify } from './keys.ts'
import * as labels from './labels.ts'
import { pack, unpack } from './labels.ts'
import {
  HEADER_SIZE,
  MAGIC,
  NO_HASH,
  type Place,
  commitment,
  coreHash,
  frameKey,
  headHash,
  logEntry,
} from './sealing.ts'

/** An X-Wing private key that opens wraps: an account key's or a vault epoch's. */
export class Opener {
  readonly #key: hpke.PrivateKey
  readonly fingerprint: Bytes

  private constructor(key: hpke.PrivateKey, mark: Bytes) {
    this.#key = key
    this.fingerprint = mark
  }

  /** From its 32-byte seed. */
  static async from(seed: Bytes): Promise<Opener> {
    const key = await hpke.PrivateKey.from(seed)
    return new Opener(key, await fingerprint(key.public))
  }

  /** The record key in a wrap for the core with hash `core`. `no_match`. */
  openWrap(sealed: Bytes, core: Bytes): Promise<Bytes> {
    return openSealed(this.#key, sealed, labels.RECORD_WRAP, core, this.fingerprint)
  }

  /** The keys in a key bag made for `place` (SPEC 7.8): each counts only with its record. `no_match` where it does not
   * open, `payload_failure` where it is not well formed. */
  async openBag(sealed: Bytes, place: BagPlace): Promise<BagKeys> {
    const padded = await openSealed(this.#key, sealed, labels.KEY_BAG, ...bagFields(place))
    return refusedAs('payload_failure', () => readBag(padded, place.at))
  }
}

/** HPKE open under label and fields. `no_match`. */
export function openSealed(
  key: hpke.PrivateKey,
  sealed: Bytes,
  label: string,
  ...fields: readonly Uint8Array[]
): Promise<Bytes> {
  return key.open(sealed, pack(label, ...fields))
}

/** The place that a core names, not yet proven. `truncated` or `header_failure`. */
export function readPlace(core: Bytes): Place {
  checkHead(core)
  let at = MAGIC.length
  const cut = (size: number) => core.slice(at, (at += size))
  return {
    silo: cut(16),
    user: cut(16),
    index: readU64(cut(8)),
    previous: cut(32),
    thread: cut(16),
    parent: cut(32),
    kind: cut(1)[0]!,
    id: cut(16),
    time: readU64(cut(8)),
  }
}

function checkHead(core: Bytes): void {
  const begins = core.slice(0, MAGIC.length)
  if (!same(begins, MAGIC.subarray(0, begins.length))) {
    throw new SiloError('header_failure')
  }
  if (core.length < HEADER_SIZE) {
    throw new SiloError('truncated')
  }
}

/** The content of a core. `header_failure` where the key is not committed to this place, `payload_failure`,
 * `truncated`. */
export async function openCore(core: Bytes, recordKey: Bytes): Promise<Bytes> {
  checkHead(core)
  const header = core.slice(0, HEADER_SIZE)
  const committed = await commitment(recordKey, header.slice(0, -HASH_SIZE))
  if (!same(committed, header.subarray(-HASH_SIZE))) {
    throw new SiloError('header_failure')
  }
  const head = await headHash(header)
  const opener = new WholeOpener(await frameKey(recordKey, head), head, core.length)
  await opener.push(core.subarray(HEADER_SIZE))
  return opener.finish()
}

/** What the silo signed of a record. */
export interface Receipt {
  readonly silo: Bytes
  readonly user: Bytes
  readonly index: bigint
  readonly coreHash: Bytes
  readonly entryHash: Bytes
  readonly recipients: readonly Bytes[]
  readonly time: bigint
}

/** The receipt, if the silo's identity (Ed25519 public key) signed it. `forged`. */
export async function readReceipt(receipt: Bytes, identity: Bytes): Promise<Receipt> {
  const said = receipt.slice(0, -64)
  await verify(identity, receipt.slice(-64), labels.RECEIPT, said)
  return refusedAs('forged', () => {
    const fields = unpack(labels.RECEIPT, said, 7)
    const [silo, user, index, core, entry, recipients, time] = fields
    const fits = [16, 16, 8, 32, 32, null, 8].every((size, at) => size === null || fields[at]?.length === size)
    if (!fits || !silo || !user || !index || !core || !entry || !recipients || !time) {
      throw refused('a field has another size')
    }
    if (!recipients.length || recipients.length % HASH_SIZE) {
      throw refused('the recipients are no fingerprints')
    }
    const marks = Array.from({ length: recipients.length / HASH_SIZE }, (_, at) =>
      recipients.slice(at * HASH_SIZE, (at + 1) * HASH_SIZE),
    )
    return {
      silo,
      user,
      index: readU64(index),
      coreHash: core,
      entryHash: entry,
      recipients: marks,
      time: readU64(time),
    }
  })
}

/** The receipt, if it is the silo's for exactly this core at its place. `forged`. */
export async function checkReceipt(receipt: Bytes, identity: Bytes, core: Bytes): Promise<Receipt> {
  const read = await readReceipt(receipt, identity)
  const place = readPlace(core)
  const hashed = await coreHash(core)
  const entry = await logEntry(place.previous, place.silo, place.user, place.index, place.thread, hashed)
  const fits =
    same(read.silo, place.silo) &&
    same(read.user, place.user) &&
    read.index === place.index &&
    read.time === place.time &&
    same(read.coreHash, hashed) &&
    same(read.entryHash, entry)
  if (!fits) {
    throw new SiloError('forged')
  }
  return read
}

/** `forged` unless the record was sealed to exactly the keys that its request named: fingerprints of account key, vault
 * epoch and that keyring's extras for the user, in this order (SPEC 7.4). */
export function checkRecipients(receipt: Receipt, named: readonly Bytes[]): void {
  const fits =
    receipt.recipients.length === named.length && receipt.recipients.every((mark, at) => same(mark, named[at]!))
  if (!fits) {
    throw new SiloError('forged', 'the receipt names other keys than those accepted')
  }
}

/** A record as the silo hands it out: nothing in it is proven yet. */
export interface Envelope {
  readonly core: Bytes
  /** recipient's fingerprint in base32 -> sealed record key */
  readonly wraps: ReadonlyMap<string, Bytes>
  readonly receipt: Bytes
}

/** A record whose key, place, content and receipt fit each other. */
export interface OpenedRecord {
  readonly place: Place
  readonly content: Bytes
  readonly coreHash: Bytes
  readonly entryHash: Bytes
  readonly receipt: Receipt
}

/** Opens a record of `user` on `silo` with the first opener that a wrap names, and checks it whole.
 *
 * `identity` is the silo's Ed25519 public key as the keyring certifies it. `no_match` (no wrap for these keys, or it
 * does not open), `header_failure` (another silo's or user's record, or a key for another place), `payload_failure`,
 * `truncated`, `forged` (no receipt, or one for something else). */
export async function openRecord(
  envelope: Envelope,
  openers: readonly Opener[],
  silo: Bytes,
  user: Bytes,
  identity: Bytes,
): Promise<OpenedRecord> {
  checkOwner(envelope, silo, user)
  return openWithKey(envelope, await unwrap(envelope, openers), silo, user, identity)
}

/** The record key, by the first opener that a wrap names. `no_match`. */
export async function unwrap(envelope: Envelope, openers: readonly Opener[]): Promise<Bytes> {
  for (const opener of openers) {
    const sealed = envelope.wraps.get(b32(opener.fingerprint))
    if (sealed) {
      return opener.openWrap(sealed, await coreHash(envelope.core))
    }
  }
  throw new SiloError('no_match')
}

/** The same with the record key at hand, from wherever: commitment and receipt judge it, so that a key bag can add
 * nothing (SPEC 7.8). As `openRecord`, but for `no_match`. */
export async function openWithKey(
  envelope: Envelope,
  recordKey: Bytes,
  silo: Bytes,
  user: Bytes,
  identity: Bytes,
): Promise<OpenedRecord> {
  const place = checkOwner(envelope, silo, user)
  const content = await openCore(envelope.core, recordKey)
  const receipt = await checkReceipt(envelope.receipt, identity, envelope.core)
  return { place, content, coreHash: receipt.coreHash, entryHash: receipt.entryHash, receipt }
}

function checkOwner(envelope: Envelope, silo: Bytes, user: Bytes): Place {
  const place = readPlace(envelope.core)
  if (!same(place.silo, silo) || !same(place.user, user)) {
    throw new SiloError('header_failure')
  }
  return place
}

/** Walks one user's log: each entry must follow the one before (SPEC 7.3). */
export class Log {
  readonly #silo: Bytes
  readonly #user: Bytes
  readonly #seen: readonly [bigint, Bytes] | null
  at: bigint
  hash: Bytes

  /** From its beginning, or from an entry (index, entry hash) that the opener has accepted before.
   *
   * `seen` is the newest entry that it has accepted: `step` and `check` hold the log to it. */
  constructor(
    silo: Bytes,
    user: Bytes,
    at = 0n,
    entry: Bytes = NO_HASH,
    seen: readonly [bigint, Bytes] | null = null,
  ) {
    this.#silo = silo
    this.#user = user
    this.#seen = seen
    this.at = at
    this.hash = entry
  }

  /** Takes the next entry: its index, thread and core hash. `forged` for any other index, and where it differs from
   * what was seen there. One call at a time. */
  async step(index: bigint, thread: Bytes, core: Bytes): Promise<void> {
    if (index !== this.at + 1n) {
      throw new SiloError('forged', `the log goes from ${this.at} to ${index}`)
    }
    this.hash = await logEntry(this.hash, this.#silo, this.#user, index, thread, core)
    this.at = index
    if (this.#seen?.[0] === index) {
      this.#compare(this.#seen[1])
    }
  }

  /** `forged` unless the log ends here, at this entry hash; `stale` where it ends before what was seen. */
  check(entry: Bytes): void {
    this.#compare(entry)
    if (this.#seen && this.at < this.#seen[0]) {
      throw new SiloError('stale', `the log ends at ${this.at}, and ${this.#seen[0]} was seen`)
    }
  }

  #compare(entry: Bytes): void {
    if (!same(this.hash, entry)) {
      throw new SiloError('forged', `the log differs at ${this.at}`)
    }
  }
}

// --- vault epochs (SPEC 8.3) ---

/** The epochs that this key opens, the current one first. `no_match` where none does, `forged` where an opened half is
 * not the listed key's. */
export async function openEpochs(admin: AdminKey, keyring: Keyring): Promise<Opener[]> {
  const key = await hpke.PrivateKey.from(admin.sealSeed)
  const mark = admin.public.fingerprint
  const { silo, epochs } = keyring.document
  const openers: Opener[] = []
  for (const epoch of [...epochs].sort((one, other) => rank(one.state) - rank(other.state))) {
    for (const half of epoch.halves) {
      if (!same(hashBytes(half.holder), mark)) {
        continue
      }
      const seed = await openSealed(key, unb64(half.sealed), labels.EPOCH_HALF, ...halfContext(silo, epoch, mark))
      if (seed.length !== hpke.SEED_SIZE || !same((await recipientOf(seed)).public, unb64(epoch.public))) {
        throw new SiloError('forged', `epoch ${epoch.id}`)
      }
      openers.push(await Opener.from(seed))
    }
  }
  if (!openers.length) {
    throw new SiloError('no_match')
  }
  return openers
}

function rank(state: string): number {
  return state === 'current' ? 0 : 1
}
