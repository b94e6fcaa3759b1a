// The sealed door, the client's end: one request sealed to a transport key, its reply under a key that the client
// chose (SPEC 4, 5).
//
//     request   1 byte version, 1,168 bytes sealed header key, 2,064 bytes sealed header, frames
//     reply     32 bytes salt, frames

import { SiloError, refusedAs } from '../errors.ts'
import { type Bytes, concat, random, readU32, same, u32, zeros } from './bytes.ts'
import { b32, hashBytes, idBytes, newId, unb64, utf8 } from './encoding.ts'
import { Pile, ReplyFrames, aesKey, aesSeal, sealWhole } from './frames.ts'
import * as hpke from './hpke.ts'
import { type Read, blob, count, hash, id, list, millis, nullable, object, readJson, text, writeJson } from './json.ts'
import { type Signer, deriveSalted, fingerprint, verify } from './keys.ts'
import * as labels from './labels.ts'
import { pack, sha256 } from './labels.ts'

export const VERSION = 1
export const HEADER_SIZE = 2048
/** Bytes before the first request frame. */
export const PREFIX_SIZE = 3233
export const SALT_SIZE = 32
/** The longest life of a transport key that a client accepts, in milliseconds. */
export const KEY_LIFE = 25 * 3_600_000
/** How far a client's clock and the silo's may be apart (SPEC 4.3), in milliseconds, either way. */
export const CLOCK_SLACK = 10 * 60_000

const JSON_AT = 16 + 64

/** A point that a client has seen: a keyring's version or a log's index, and the hash there. */
export const seen = object<Seen>({ at: count, hash })
export interface Seen {
  readonly at: number
  readonly hash: string
}

/** The transport key that a client seals to, vouched for by the pinned identity. */
export interface Destination {
  readonly silo: Bytes
  /** The identity's fingerprint, 32 bytes. */
  readonly identity: Bytes
  readonly public: Bytes
  readonly since: number
  readonly until: number
}

/** The key's name in the URL: 8 bytes in base32. */
export async function keyId(destination: Destination): Promise<string> {
  return b32((await fingerprint(destination.public)).subarray(0, 8))
}

// --- replies (SPEC 4.4) ---

export const HEAD = 1
export const BODY = 2
export const END = 3

/** One part of a reply: HEAD (JSON), BODY (bytes) or END (JSON). */
export interface Part {
  readonly kind: number
  readonly data: Bytes
}

/** A part as it stands in a payload: 1 byte kind, 3 bytes length, data. */
export function part(one: Part): Bytes {
  return concat(Uint8Array.of(one.kind), u32(one.data.length).subarray(1), one.data)
}

/** Opens one answer as it arrives: `push` gives its parts, `finish` says that it was whole.
 *
 * Order is checked: one HEAD first, BODY, one END; after it only cover. */
export class ReplyOpener {
  readonly #secret: Bytes
  readonly #transcript: Bytes
  readonly #salt = new Pile()
  readonly #pile = new Pile()
  #frames: ReplyFrames | undefined
  #head = false
  #failed = false
  /** Whether the END part has come: the answer is whole, though cover may follow. */
  complete = false

  constructor(secret: Bytes, transcript: Bytes) {
    this.#secret = secret
    this.#transcript = transcript
  }

  /** The parts that `data` completes; `payload_failure`. One call at a time. */
  async push(data: Uint8Array): Promise<Part[]> {
    let rest = data
    if (!this.#frames) {
      const need = SALT_SIZE - this.#salt.length
      this.#salt.add(data.subarray(0, need))
      rest = data.subarray(need)
      if (this.#salt.length < SALT_SIZE) {
        return []
      }
      const salt = concat(this.#transcript, this.#salt.view)
      this.#frames = new ReplyFrames(await deriveSalted(salt, this.#secret, labels.DOOR_REPLY), this.#transcript)
    }
    if (this.#failed) {
      throw new SiloError('payload_failure')
    }
    for (const payload of await this.#frames.push(rest)) {
      this.#pile.add(payload)
    }
    const parts: Part[] = []
    this.#failed = !this.#parts(parts)
    // What came before the fault was authentic and is released first; the next call tells of the fault.
    if (this.#failed && !parts.length) {
      throw new SiloError('payload_failure')
    }
    return parts
  }

  // Puts what is complete into `parts`; false at a fault.
  #parts(parts: Part[]): boolean {
    while (this.#pile.length >= 4) {
      const head = readU32(this.#pile.view)
      const kind = head >>> 24
      const size = head & 0xffffff
      if (this.complete || kind < HEAD || kind > END || (kind === HEAD) === this.#head) {
        return false
      }
      if (this.#pile.length < 4 + size) {
        return true
      }
      parts.push({ kind, data: this.#pile.take(4 + size).slice(4) })
      this.#head = true
      this.complete = kind === END
    }
    return !(this.complete && this.#pile.length)
  }

  /** `truncated` unless the last frame came; `payload_failure` for a fault before it, or where it came without END. */
  finish(): void {
    if (this.#failed) {
      throw new SiloError('payload_failure')
    }
    if (!this.#frames) {
      throw new SiloError('truncated')
    }
    this.#frames.finish()
    if (!this.complete) {
      throw new SiloError('payload_failure')
    }
  }
}

// --- requests (SPEC 4.1) ---

/** What a client asks. The same `id` and `time` on a retry make it the same request. */
export interface Request {
  readonly method: string
  readonly path: string
  /** Milliseconds since 1970, when it was first made. */
  readonly time: number
  readonly id: string
  readonly headers: Readonly<Record<string, string>>
  /** Fingerprint of the account key that this client accepts. */
  readonly account: Bytes | null
  readonly keyring: Seen | null
  readonly head: Seen | null
}

/** A request as it is at first: a fresh id, nothing seen. */
export function newRequest(method: string, path: string, time: number): Request {
  return { method, path, time, id: newId(), headers: {}, account: null, keyring: null, head: null }
}

/** A device that signs: its id (16 bytes) and key. */
export interface Device {
  readonly id: Bytes
  readonly signer: Signer
}

/** The bytes to POST, and the opener of their answer. Both secrets are fresh at each call, a retry too.
 *
 * `too_large` where the header does not fit. */
export async function sealRequest(
  destination: Destination,
  request: Request,
  content: Bytes,
  device: Device | null = null,
): Promise<{ bytes: Bytes; reply: ReplyOpener }> {
  const requestSecret = random(32)
  const replySecret = random(32)
  const json = writeJson({
    id: request.id,
    time: request.time,
    method: request.method,
    path: request.path,
    request: b32(requestSecret),
    reply: b32(replySecret),
    headers: request.headers,
    account: request.account && b32(request.account),
    keyring: request.keyring,
    head: request.head,
  })
  if (json.length > HEADER_SIZE - JSON_AT) {
    throw new SiloError('too_large', 'header')
  }
  const headerKey = random(32)
  const mark = await fingerprint(destination.public)
  const { silo, identity } = destination
  const context = pack(labels.DOOR_HEADER, Uint8Array.of(VERSION), silo, identity, mark)
  const sealedKey = await hpke.seal(destination.public, headerKey, context)
  const plain = zeros(HEADER_SIZE)
  plain.set(json, JSON_AT)
  if (device) {
    const signed = [silo, identity, mark.subarray(0, 8), device.id, sealedKey, json]
    plain.set(device.id)
    plain.set(await device.signer.sign(labels.DOOR_SIGNATURE, ...signed), 16)
  }
  const before = concat(Uint8Array.of(VERSION), sealedKey)
  // The header key seals this one header, so a nonce of zeros is used once.
  const prefix = concat(before, await aesSeal(await aesKey(headerKey), zeros(12), plain, before))
  const transcript = await sha256(prefix)
  const key = await deriveSalted(transcript, requestSecret, labels.DOOR_REQUEST)
  const body = await sealWhole(key, transcript, content)
  return { bytes: concat(prefix, body), reply: new ReplyOpener(replySecret, transcript) }
}

// --- transport keys (SPEC 5.1) ---

const signedKeys = object<{ statement: string; signature: string }>({ statement: text, signature: blob })
const keysStatement = object({
  silo: id,
  identity: hash,
  now: millis,
  nonce: nullable(hash),
  keys: list(object({ public: blob, since: millis, until: millis })),
})

/** Transport keys that the pinned identity has signed. */
export interface Keys {
  /** The silo's clock, milliseconds. */
  readonly now: number
  /** The identity's Ed25519 public key, 32 bytes. */
  readonly identity: Bytes
  /** Freshest first. */
  readonly destinations: readonly Destination[]
}

/** The transport keys in `answer`, freshest first.
 *
 * `silo` is the silo's id, `identity` the pinned fingerprint, `nonce` what was sent. Without one the answer may be old
 * (the keys inside `stale_key`, or kept from before), so its keys are held to `clock`, the client's own, in
 * milliseconds; null: not compared. `bad_reply` for what is no such answer, `wrong_silo` for another silo or identity,
 * `forged`, `replay` for another nonce, `stale` where no key is alive by the silo's clock and by `clock`, or all live
 * longer than 25 h. */
export async function readKeys(
  answer: Bytes,
  silo: Bytes,
  identity: Bytes,
  nonce: string | null,
  clock: number | null = null,
): Promise<Keys> {
  const read = await refusedAs('bad_reply', async () => {
    const signed = readJson(answer, signedKeys)
    const said = utf8(signed.statement)
    const stated: Read<typeof keysStatement> = readJson(said, keysStatement)
    const publics = stated.keys.map((one) => unb64(one.public))
    const key = hashBytes(stated.identity)
    const signature = unb64(signed.signature)
    if (!same(idBytes(stated.silo), silo) || !same(await fingerprint(key), identity)) {
      throw new SiloError('wrong_silo')
    }
    publics.forEach(hpke.checkPublic)
    return { said, stated, publics, key, signature }
  })
  const { stated, key } = read
  await verify(key, read.signature, labels.KEYS, read.said)
  if (nonce !== null && stated.nonce !== nonce) {
    throw new SiloError('replay')
  }
  const destinations = read.publics
    .map((publicKey, at) => ({ silo, identity, public: publicKey, ...lifeOf(stated.keys[at]!) }))
    .filter(({ since, until }) => since <= stated.now && stated.now < until && until - since <= KEY_LIFE)
    .filter(
      ({ since, until }) =>
        nonce !== null || clock === null || (since - CLOCK_SLACK <= clock && clock < until + CLOCK_SLACK),
    )
    .sort((one, other) => other.since - one.since)
  if (!destinations.length) {
    throw new SiloError('stale')
  }
  return { now: stated.now, identity: key, destinations }
}

function lifeOf({ since, until }: { since: number; until: number }): { since: number; until: number } {
  return { since, until }
}
