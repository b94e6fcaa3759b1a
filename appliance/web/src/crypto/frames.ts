// Frames: authenticated chunks in order, ended by one that says so (STREAM; SPEC 3).
//
// A frame on the wire is a 4-byte length L, big-endian, then L bytes of AES-256-GCM ciphertext. The nonce is an
// 11-byte counter from 0, then 1 on the last frame and 0 before. Every stream has a key of its own.

import { type Code, SiloError, refused } from '../errors.ts'
import { type Bytes, any, concat, readU32, readU64, u32, u64, zeros } from './bytes.ts'
import { padme } from './encoding.ts'

export const TAG = 16
/** The largest plaintext of a frame. */
export const FRAME = 65_536
/** A reply frame's plaintext is a multiple of this. */
export const STEP = 256

/** An AES-256-GCM key that WebCrypto holds. */
export function aesKey(key: Bytes): Promise<CryptoKey> {
  return crypto.subtle.importKey('raw', key, 'AES-GCM', false, ['encrypt', 'decrypt'])
}

export async function aesSeal(key: CryptoKey, iv: Bytes, plaintext: Bytes, additionalData: Bytes): Promise<Bytes> {
  return new Uint8Array(await crypto.subtle.encrypt({ name: 'AES-GCM', iv, additionalData }, key, plaintext))
}

/** The plaintext, or null where it does not open. */
export async function aesOpen(
  key: CryptoKey,
  iv: Bytes,
  sealed: Bytes,
  additionalData: Bytes,
): Promise<Bytes | null> {
  try {
    return new Uint8Array(await crypto.subtle.decrypt({ name: 'AES-GCM', iv, additionalData }, key, sealed))
  } catch {
    return null
  }
}

function nonce(counter: number, last: boolean): Bytes {
  return concat(zeros(3), u64(counter), Uint8Array.of(last ? 1 : 0))
}

/** Seals one stream. It can seal, never open. */
export class FrameSealer {
  readonly #secret: Bytes
  readonly #context: Bytes
  #key: CryptoKey | undefined
  #counter = 0
  #ended = false

  /** `key` is 32 bytes and belongs to this stream alone; `context` is its associated data, never empty. */
  constructor(key: Bytes, context: Bytes) {
    this.#secret = key
    this.#context = context
  }

  /** One frame as it goes on the wire. Refuses to go on after the last one. */
  async seal(plaintext: Bytes, last = false): Promise<Bytes> {
    if (this.#ended) {
      throw refused('this stream has ended')
    }
    const iv = nonce(this.#counter, last)
    this.#counter += 1
    this.#ended = last
    this.#key ??= await aesKey(this.#secret)
    const sealed = await aesSeal(this.#key, iv, plaintext, this.#context)
    return concat(u32(sealed.length), sealed)
  }
}

/** Bytes that arrive in pieces and leave from the front; grows by doubling. */
export class Pile {
  #data = zeros(0)
  #start = 0
  #end = 0

  get length(): number {
    return this.#end - this.#start
  }

  add(piece: Uint8Array): void {
    if (this.#end + piece.length > this.#data.length) {
      const held = this.#data.subarray(this.#start, this.#end)
      const room = held.length ? 2 * (held.length + piece.length) : piece.length
      this.#data = room > this.#data.length ? zeros(room) : this.#data
      this.#data.set(held)
      this.#end -= this.#start
      this.#start = 0
    }
    this.#data.set(piece, this.#end)
    this.#end += piece.length
  }

  /** What is there, without taking it; valid until the next `add`. */
  get view(): Bytes {
    return this.#data.subarray(this.#start, this.#end)
  }

  /** Takes `size` bytes off the front: a copy. */
  take(size: number): Bytes {
    const out = this.view.slice(0, size)
    this.#start += out.length
    return out
  }

  clear(): void {
    this.#start = this.#end
  }
}

/** Cuts what arrives into frames and opens them in order; nothing leaves unauthenticated. */
abstract class Opener {
  readonly #secret: Bytes
  readonly #context: Bytes
  #key: CryptoKey | undefined
  readonly #pile = new Pile()
  #counter = 0
  #failed: Code | undefined
  #busy = false
  /** Whether the last frame was opened. */
  ended = false

  constructor(key: Bytes, context: Bytes) {
    this.#secret = key
    this.#context = context
  }

  protected abstract lengthFits(length: number): boolean
  protected abstract likelyLast(length: number): boolean
  /** What of one authentic plaintext may be released now. */
  protected abstract took(plaintext: Bytes): Bytes

  protected fail(code: Code): SiloError {
    this.#failed = code
    this.#pile.clear()
    return new SiloError(code)
  }

  /** Takes bytes off the wire; gives what they complete and may be released, in order. One call at a time.
   *
   * `payload_failure` (or what `took` found) at the first fault; what was authentic before the fault is released
   * first, so that how the bytes were split changes nothing. */
  async push(data: Uint8Array): Promise<Bytes[]> {
    if (this.#busy) {
      throw new Error('await one push before the next')
    }
    if (this.#failed) {
      throw new SiloError(this.#failed)
    }
    this.#busy = true
    const released: Bytes[] = []
    try {
      this.#pile.add(data)
      while (this.#pile.length >= 4 && !this.ended) {
        const length = readU32(this.#pile.view)
        if (!this.lengthFits(length)) {
          throw this.fail('payload_failure')
        }
        if (this.#pile.length < 4 + length) {
          break
        }
        const sealed = this.#pile.take(4 + length).subarray(4)
        const part = this.took(await this.#open(sealed))
        if (part.length) {
          released.push(part)
        }
      }
      if (this.ended && this.#pile.length) {
        throw this.fail('payload_failure')
      }
    } catch (error) {
      if (!(error instanceof SiloError) || !released.length) {
        throw error
      }
    } finally {
      this.#busy = false
    }
    return released
  }

  async #open(sealed: Bytes): Promise<Bytes> {
    this.#key ??= await aesKey(this.#secret)
    // Whether a frame is the last one is told by which nonce opens it; the likelier one first.
    const likely = this.likelyLast(sealed.length)
    for (const last of [likely, !likely]) {
      const plaintext = await aesOpen(this.#key, nonce(this.#counter, last), sealed, this.#context)
      if (plaintext) {
        this.#counter += 1
        this.ended = last
        return plaintext
      }
    }
    throw this.fail('payload_failure')
  }

  protected checkEnd(): void {
    if (this.#failed) {
      throw new SiloError(this.#failed)
    }
    if (!this.ended) {
      throw this.fail('truncated')
    }
  }
}

// --- whole messages: requests and records (SPEC 3.3) ---

/** All frames of one whole message, padded to its Padmé size. */
export async function sealWhole(key: Bytes, context: Bytes, content: Bytes): Promise<Bytes> {
  const sealer = new FrameSealer(key, context)
  const padded = zeros(padme(8 + content.length))
  padded.set(u64(content.length))
  padded.set(content, 8)
  const out: Bytes[] = []
  for (let at = 0; at < padded.length; at += FRAME) {
    out.push(await sealer.seal(padded.slice(at, at + FRAME), at + FRAME >= padded.length))
  }
  return concat(...out)
}

/** Opens one whole message: `push` what arrives (it releases nothing; `too_large` past the limit), then `finish` gives
 * the content, and only then. */
export class WholeOpener extends Opener {
  readonly #limit: number
  readonly #plain = new Pile()

  /** `limit` is the largest padded size that is taken, in bytes. */
  constructor(key: Bytes, context: Bytes, limit: number) {
    super(key, context)
    this.#limit = limit
  }

  protected override lengthFits(length: number): boolean {
    return TAG < length && length <= FRAME + TAG
  }

  protected override likelyLast(length: number): boolean {
    return length < FRAME + TAG
  }

  protected override took(plaintext: Bytes): Bytes {
    if (plaintext.length !== FRAME && !this.ended) {
      throw this.fail('payload_failure')
    }
    this.#plain.add(plaintext)
    if (this.#plain.length > this.#limit) {
      throw this.fail('too_large')
    }
    return zeros(0)
  }

  /** The content. `truncated` or `payload_failure`. */
  finish(): Bytes {
    this.checkEnd()
    const plain = this.#plain.view
    // The size that Padmé gives is at least 256 and holds the content.
    const size = plain.length < 8 ? Infinity : Number(readU64(plain))
    if (size > plain.length || padme(8 + size) !== plain.length || any(plain.subarray(8 + size))) {
      throw this.fail('payload_failure')
    }
    return plain.slice(8, 8 + size)
  }
}

// --- replies: streamed (SPEC 3.2) ---

/** Opens a reply as it streams: `push` gives each payload, cover left out; `finish` catches an end too early. */
export class ReplyFrames extends Opener {
  protected override lengthFits(length: number): boolean {
    return (length - TAG) % STEP === 0 && STEP + TAG <= length && length <= FRAME + TAG
  }

  protected override likelyLast(): boolean {
    return false
  }

  protected override took(plaintext: Bytes): Bytes {
    const size = readU32(plaintext)
    if (size > plaintext.length - 4 || any(plaintext.subarray(4 + size))) {
      throw this.fail('payload_failure')
    }
    return plaintext.slice(4, 4 + size)
  }

  /** `truncated` unless the last frame was opened. */
  finish(): void {
    this.checkEnd()
  }
}
