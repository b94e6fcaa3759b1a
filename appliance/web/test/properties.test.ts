// Properties that hold for whatever is sent (fast-check draws it).

import assert from 'node:assert/strict'
import test from 'node:test'

import fc from 'fast-check'

import { type Bytes, concat, readU32, same, u32, zeros } from '../src/crypto/bytes.ts'
import { type Part, ReplyOpener, part } from '../src/crypto/channel.ts'
import { b32, b64, padme, unb32, unb64, utf8 } from '../src/crypto/encoding.ts'
import { FrameSealer, ReplyFrames, WholeOpener, sealWhole } from '../src/crypto/frames.ts'
import { Fraction, type Json, parseJson, writeJson } from '../src/crypto/json.ts'
import { deriveSalted } from '../src/crypto/keys.ts'
import * as labels from '../src/crypto/labels.ts'
import { pack, unpack } from '../src/crypto/labels.ts'
import { coreHash, frameKey, headHash, commitment, spell } from '../src/crypto/sealing.ts'
import { openCore } from '../src/crypto/opening.ts'
import { SiloError } from '../src/errors.ts'

const RUNS = { numRuns: 150 }

const bytes = (maxLength: number, minLength = 0) => fc.uint8Array({ minLength, maxLength }).map((one) => Uint8Array.from(one))
const key = bytes(32, 32)
/** Where a stream of bytes is cut: fractions of its length. */
const cuts = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 12 })

function pieces(data: Bytes, at: readonly number[]): Bytes[] {
  const marks = [0, ...at.map((one) => Math.floor(one * data.length)).sort((one, other) => one - other), data.length]
  return marks.slice(1).map((mark, index) => data.slice(marks[index], mark))
}

interface Stream<T> {
  push(data: Uint8Array): Promise<T[]>
  finish(): Bytes | void
}

/** What comes out, and the fault that ended it. */
async function drain<T>(opener: Stream<T>, sent: readonly Bytes[], spelled: (one: T) => Bytes): Promise<[Bytes, string]> {
  const out: Bytes[] = []
  try {
    for (const piece of sent) out.push(...(await opener.push(piece)).map(spelled))
    out.push(opener.finish() ?? zeros(0))
  } catch (error) {
    assert.ok(error instanceof SiloError)
    return [concat(...out), error.code]
  }
  return [concat(...out), 'success']
}

async function sealReply(secret: Bytes, context: Bytes, payloads: readonly Bytes[], pad: number): Promise<Bytes[]> {
  const sealer = new FrameSealer(secret, context)
  const frames: Bytes[] = []
  for (const [at, payload] of payloads.entries()) {
    const plain = zeros((Math.ceil((4 + payload.length) / 256) + pad) * 256)
    plain.set(u32(payload.length))
    plain.set(payload, 4)
    frames.push(await sealer.seal(plain, at === payloads.length - 1))
  }
  return frames
}

const reply = fc.record({ secret: key, context: key, payloads: fc.array(bytes(700), { minLength: 1, maxLength: 6 }), pad: fc.integer({ min: 0, max: 2 }) })

test('a reply opens to the same words however it is cut', () =>
  fc.assert(
    fc.asyncProperty(reply, cuts, async ({ secret, context, payloads, pad }, at) => {
      const stream = concat(...(await sealReply(secret, context, payloads, pad)))
      const [out, verdict] = await drain(new ReplyFrames(secret, context), pieces(stream, at), (one) => one)
      assert.deepEqual([out, verdict], [concat(...payloads), 'success'])
    }),
    RUNS,
  ))

test('a whole message opens to the same content however it is cut, and releases nothing before its end', () =>
  fc.assert(
    fc.asyncProperty(key, key, bytes(3000), cuts, async (secret, context, content, at) => {
      const opener = new WholeOpener(secret, context, 1 << 24)
      for (const piece of pieces(await sealWhole(secret, context, content), at)) {
        assert.deepEqual(await opener.push(piece), [])
      }
      assert.deepEqual(opener.finish(), content)
    }),
    RUNS,
  ))

/** One lie about a list of frames: each gives other bytes, or the draw is dropped. */
const lies: Readonly<Record<string, (frames: readonly Bytes[], at: number, bit: number) => readonly Bytes[]>> = {
  'a bit flipped': (frames, at, bit) => {
    const joined = concat(...frames)
    joined[at % joined.length]! ^= 1 << (bit % 8)
    return [joined]
  },
  'a byte dropped': (frames, at) => {
    const joined = concat(...frames)
    return [joined.slice(0, at % joined.length), joined.slice((at % joined.length) + 1)]
  },
  'a byte added': (frames, at, bit) => {
    const joined = concat(...frames)
    const place = at % (joined.length + 1)
    return [joined.slice(0, place), Uint8Array.of(bit), joined.slice(place)]
  },
  'two bytes swapped': (frames, at, bit) => {
    const joined = concat(...frames)
    const [one, other] = [at % joined.length, (at + 1 + bit) % joined.length]
    ;[joined[one], joined[other]] = [joined[other]!, joined[one]!]
    return [joined]
  },
  'a byte repeated': (frames, at) => {
    const joined = concat(...frames)
    const place = at % joined.length
    return [joined.slice(0, place + 1), joined.slice(place)]
  },
  'cut short': (frames, at) => {
    const joined = concat(...frames)
    return [joined.slice(0, at % joined.length)]
  },
  'a frame dropped': (frames, at) => frames.filter((_, index) => index !== at % frames.length),
  'a frame repeated': (frames, at) => frames.flatMap((one, index) => (index === at % frames.length ? [one, one] : [one])),
  'two frames swapped': (frames, at, bit) => {
    const out = [...frames]
    const [one, other] = [at % out.length, (at + 1 + bit) % out.length]
    ;[out[one], out[other]] = [out[other]!, out[one]!]
    return out
  },
}

for (const [what, lie] of Object.entries(lies)) {
  test(`refused, and nothing of it or behind it released: ${what}`, () =>
    fc.assert(
      fc.asyncProperty(reply, fc.nat(), fc.nat(255), cuts, async ({ secret, context, payloads, pad }, at, bit, cutAt) => {
        const frames = await sealReply(secret, context, payloads, pad)
        const lied = concat(...lie(frames, at, bit))
        fc.pre(!same(lied, concat(...frames)))
        const [out, verdict] = await drain(new ReplyFrames(secret, context), pieces(lied, cutAt), (one) => one)
        assert.ok(['payload_failure', 'truncated'].includes(verdict), verdict)
        // The frames before the first changed byte, whole ones alone, are all that may come out.
        const changed = lied.findIndex((byte, index) => byte !== concat(...frames)[index])
        const intact = changed < 0 ? Math.min(lied.length, concat(...frames).length) : changed
        let end = 0
        const untouched = frames.filter((frame) => (end += frame.length) <= intact).length
        assert.deepEqual(out, concat(...payloads.slice(0, untouched)))
      }),
      RUNS,
    ))

  const ofFrames = what.includes('frame')
  test(`refused in a whole message, and nothing released: ${what}`, () =>
    fc.assert(
      fc.asyncProperty(key, key, bytes(ofFrames ? 9 : 3000), fc.nat(), fc.nat(255), cuts, async (secret, context, words, at, bit, cutAt) => {
        // Only a long message has several frames.
        const content = ofFrames ? concat(zeros(150_000), words) : words
        const frames = framesOf(await sealWhole(secret, context, content))
        const lied = concat(...lie(frames, at, bit))
        fc.pre(!same(lied, concat(...frames)))
        const [out, verdict] = await drain(new WholeOpener(secret, context, 1 << 24), pieces(lied, cutAt), (one) => one)
        assert.deepEqual(out, zeros(0))
        assert.ok(['payload_failure', 'truncated'].includes(verdict), verdict)
      }),
      { numRuns: ofFrames ? 30 : RUNS.numRuns },
    ))
}

function framesOf(stream: Bytes): Bytes[] {
  const frames: Bytes[] = []
  for (let at = 0; at < stream.length; ) {
    const end = at + 4 + readU32(stream, at)
    frames.push(stream.slice(at, end))
    at = end
  }
  return frames
}

test('parts come out the same however salt, frames and parts are cut', () =>
  fc.assert(
    fc.asyncProperty(key, key, key, fc.array(bytes(600), { maxLength: 5 }), bytes(300), cuts, cuts, async (secret, transcript, salt, bodies, json, inFrames, at) => {
      const parts: Part[] = [{ kind: 1, data: json }, ...bodies.map((data) => ({ kind: 2, data })), { kind: 3, data: json }]
      const said = concat(...parts.map(part))
      const frameSecret = await deriveSalted(concat(transcript, salt), secret, labels.DOOR_REPLY)
      const stream = concat(salt, ...(await sealReply(frameSecret, transcript, pieces(said, inFrames), 0)))
      const [out, verdict] = await drain(new ReplyOpener(secret, transcript), pieces(stream, at), part)
      assert.deepEqual([out, verdict], [said, 'success'])
    }),
    RUNS,
  ))

test('a record opens under its own key, and with any bit changed it does not', () =>
  fc.assert(
    fc.asyncProperty(key, bytes(500), fc.nat(), fc.nat(7), async (recordKey, content, at, bit) => {
      const id = recordKey.slice(0, 16)
      const place = { silo: id, user: id, index: 7n, previous: recordKey, thread: id, parent: recordKey, kind: 1, id, time: 5n }
      const spelled = spell(place)
      const header = concat(spelled, await commitment(recordKey, spelled))
      const head = await headHash(header)
      const core = concat(header, await sealWhole(await frameKey(recordKey, head), head, content))
      assert.deepEqual(await openCore(core, recordKey), content)
      const other = core.slice()
      other[at % core.length]! ^= 1 << bit
      assert.ok(!same(await coreHash(other), await coreHash(core)))
      await assert.rejects(openCore(other, recordKey), SiloError)
    }),
    RUNS,
  ))

test('what is packed is unpacked, and by no other label or count', () =>
  fc.assert(
    fc.property(fc.array(bytes(40), { maxLength: 5 }), (fields) => {
      const packed = pack(labels.TURN, ...fields)
      assert.deepEqual(unpack(labels.TURN, packed, fields.length), fields)
      assert.throws(() => unpack(labels.RECEIPT, packed, fields.length), SiloError)
      assert.throws(() => unpack(labels.TURN, packed, fields.length + 1), SiloError)
    }),
    RUNS,
  ))

test('bytes have one spelling', () =>
  fc.assert(
    fc.property(bytes(64), fc.string(), (data, other) => {
      assert.deepEqual(unb64(b64(data)), data)
      assert.deepEqual(unb32(b32(data), data.length), data)
      for (const [decode, encode] of [[unb64, b64], [(text: string) => unb32(text, 16), b32]] as const) {
        try {
          assert.equal(encode(decode(other)), other)
        } catch (error) {
          assert.ok(error instanceof SiloError)
        }
      }
    }),
    RUNS,
  ))

test('padding is the next size that says little', () =>
  fc.assert(
    fc.property(fc.nat(2 ** 31), (size) => {
      const padded = padme(size)
      assert.ok(padded >= Math.max(256, size) && padded <= Math.max(256, size * 1.12))
      assert.equal(padme(padded), padded)
    }),
    RUNS,
  ))

const plain = (value: Json): unknown => {
  if (value instanceof Fraction) return value.value
  if (value instanceof Map) return Object.fromEntries([...value].map(([name, one]) => [name, plain(one)]))
  return Array.isArray(value) ? (value as readonly Json[]).map(plain) : value
}

test('JSON that others write is read as they mean it', () =>
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      const text = JSON.stringify(value)
      const numbers = text.match(/(?<![\w".])-?\d{16,}(?![.\de])/g) ?? []
      fc.pre(text.isWellFormed() && !/\\ud[89a-f]/i.test(text) && !numbers.length && !text.includes('__proto__'))
      assert.deepEqual(plain(parseJson(utf8(text))), JSON.parse(text))
      assert.deepEqual(plain(parseJson(writeJson(value))), JSON.parse(text))
    }),
    RUNS,
  ))

test('what JSON.parse refuses, the strict reader refuses', () =>
  fc.assert(
    fc.property(fc.jsonValue(), fc.nat(), fc.constantFrom(...'{}[]",:0-+.eE\\u nt\t\u0000\u{feff}'), (value, at, letter) => {
      const text = JSON.stringify(value)
      const place = at % (text.length + 1)
      const changed = text.slice(0, place) + letter + text.slice(place + (at % 2))
      fc.pre(changed.isWellFormed())
      let valid = true
      try {
        JSON.parse(changed)
      } catch {
        valid = false
      }
      if (!valid) assert.throws(() => parseJson(utf8(changed)), SiloError)
    }),
    { numRuns: 2000 },
  ))
