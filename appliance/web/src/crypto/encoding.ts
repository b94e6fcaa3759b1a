// How bytes, numbers and texts are spelled (SPEC 2.3): one spelling each, every other refused. JSON is in json.ts.

import { refused } from '../errors.ts'
import { type Bytes, random } from './bytes.ts'

export const ID_SIZE = 16
export const HASH_SIZE = 32

const LETTERS = 'abcdefghijklmnopqrstuvwxyz234567'
const BASE64 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'

/** Lower-case base32 without padding: for what is 32 bytes or shorter (SPEC 2.3). */
export function b32(data: Uint8Array): string {
  let out = ''
  let held = 0
  let bits = 0
  for (const byte of data) {
    held = ((held & 31) << 8) | byte
    bits += 8
    while (bits >= 5) {
      bits -= 5
      out += LETTERS.charAt((held >> bits) & 31)
    }
  }
  return bits ? out + LETTERS.charAt((held << (5 - bits)) & 31) : out
}

/** The `size` bytes that `text` spells. Refuses all but their one spelling. */
export function unb32(text: string, size: number): Bytes {
  const out = new Uint8Array(size)
  let at = 0
  let held = 0
  let bits = 0
  for (const letter of text) {
    const five = LETTERS.indexOf(letter)
    if (five < 0) {
      throw refused('not base32')
    }
    held = ((held & 255) << 5) | five
    bits += 5
    if (bits >= 8) {
      bits -= 8
      out[at++] = held >> bits
    }
  }
  if (at !== size || b32(out) !== text) {
    throw refused('not the one base32 spelling of that size')
  }
  return out
}

/** base64url without padding: for what is longer than 32 bytes (SPEC 2.3). */
export function b64(data: Uint8Array): string {
  let binary = ''
  for (let at = 0; at < data.length; at += 0x2000) {
    binary += String.fromCharCode(...data.subarray(at, at + 0x2000))
  }
  return btoa(binary).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '')
}

/** The bytes that `text` spells. Refuses all but their one spelling. */
export function unb64(text: string): Bytes {
  const rest = text.length % 4
  const spare = BASE64.indexOf(text.charAt(text.length - 1)) & [0, 0, 15, 3][rest]!
  if (!/^[A-Za-z0-9_-]*$/.test(text) || rest === 1 || (rest && spare)) {
    throw refused('not the one base64url spelling')
  }
  const binary = atob(text.replaceAll('-', '+').replaceAll('_', '/'))
  return Uint8Array.from(binary, (letter) => letter.charCodeAt(0))
}

/** A fresh identifier: 16 random bytes in base32. */
export function newId(): string {
  return b32(random(ID_SIZE))
}

/** The 16 bytes of an identifier. */
export function idBytes(text: string): Bytes {
  return unb32(text, ID_SIZE)
}

/** The 32 bytes of a hash, fingerprint or key in base32. */
export function hashBytes(text: string): Bytes {
  return unb32(text, HASH_SIZE)
}

/** A text in UTF-8. Refuses a lone surrogate: it has none, and an encoder would put another letter in its place. */
export function utf8(text: string): Bytes {
  if (!text.isWellFormed()) {
    throw refused('not UTF-8')
  }
  return new TextEncoder().encode(text)
}

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** The text that is UTF-8 in `data`, its byte order mark included. */
export function unutf8(data: Uint8Array): string {
  try {
    return decoder.decode(data)
  } catch {
    throw refused('not UTF-8')
  }
}

// Control, format, private use, surrogate, separators but the space: as Unicode 17 has them, listed, because two readers
// with another Unicode each must agree on what was signed (SPEC 5.6).
const NOT_IN_NAMES =
  /[\0-\x1f\x7f-\xa0\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u1680\u180e\u2000-\u200f\u2028-\u202f\u205f-\u2064\u2066-\u206f\u3000\ud800-\uf8ff\ufeff\ufff9-\ufffb\u{110bd}\u{110cd}\u{13430}-\u{1343f}\u{1bca0}-\u{1bca3}\u{1d173}-\u{1d17a}\u{e0001}\u{e0020}-\u{e007f}\u{f0000}-\u{ffffd}\u{100000}-\u{10fffd}]/u

/** Whether this may name a person or a holder of a key (SPEC 5.6). */
export function isName(text: string): boolean {
  const size = [...text].length
  const edges = text.startsWith(' ') || text.endsWith(' ')
  return size >= 1 && size <= 64 && !edges && !NOT_IN_NAMES.test(text)
}

/** The Padmé size of a message of `size` bytes, at least 256 (PURBs, arXiv 1806.03160; SPEC 3.3). `size` is below
 * 2^53. */
export function padme(size: number): number {
  if (size <= 256) {
    return 256
  }
  const exponent = bitLength(size) - 1
  const step = 2 ** (exponent - bitLength(exponent))
  return Math.ceil(size / step) * step
}

function bitLength(number: number): number {
  return number.toString(2).length
}
