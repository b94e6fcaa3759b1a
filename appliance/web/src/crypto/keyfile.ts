// Key files: a secret as text that can be printed, kept and read back (SPEC 8.6).
//
//     # what it is, for whom
//     public  <fingerprint in base32>
//     secret  SILO-ADMIN-KEY-1…                    Bech32, with its checksum
//     locked  <base64url>                          instead, under a passphrase

import { SiloError, refused, refusedAs } from '../errors.ts'
import { type Bytes, random, zeros } from './bytes.ts'
import { b32, b64, unb64 } from './encoding.ts'
import { aesKey, aesOpen, aesSeal } from './frames.ts'
import { AdminKey, SEED_SIZE } from './keys.ts'
import * as labels from './labels.ts'
import { pack, unpack } from './labels.ts'
import { SALT_SIZE, stretchText } from './locks.ts'

export const HUMAN_PART = 'silo-admin-key-'

/** `secret` under a passphrase: Argon2id, then AES-256-GCM under a key that is used this once. As
 * `stretchText`. */
export async function lockBytes(secret: Bytes, passphrase: string, label: string): Promise<Bytes> {
  const salt = random(SALT_SIZE)
  const key = await aesKey(await stretchText(passphrase, salt))
  return pack(label, salt, await aesSeal(key, zeros(12), secret, pack(label, salt)))
}

/** What `lockBytes` was given. `wrong_passphrase` (also for none at all), `bad_password` as `stretchText`; refuses what
 * `lockBytes` did not make. */
export async function unlockBytes(locked: Bytes, passphrase: string | null, label: string): Promise<Bytes> {
  const [salt, sealed] = unpack(label, locked, 2) as [Bytes, Bytes]
  if (salt.length !== SALT_SIZE) {
    throw refused('a salt has 16 bytes')
  }
  if (passphrase === null) {
    throw new SiloError('wrong_passphrase')
  }
  const key = await aesKey(await stretchText(passphrase, salt))
  const secret = await aesOpen(key, zeros(12), sealed, pack(label, salt))
  if (!secret) {
    throw new SiloError('wrong_passphrase')
  }
  return secret
}

/** The text of an admin key's file; `comment` is one line. As `lockBytes`: an empty passphrase is no way to write a
 * file without one. */
export async function writeAdminKey(key: AdminKey, comment: string, passphrase: string | null = null): Promise<string> {
  const secret =
    passphrase === null
      ? `secret  ${toBech32(key.seed).toUpperCase()}`
      : `locked  ${b64(await lockBytes(key.seed, passphrase, labels.KEY_FILE))}`
  return [
    `# ${comment.split(/\s+/).filter(Boolean).join(' ')}`,
    '# Whoever has this file can open everything in the silo. Keep it offline.',
    `public  ${b32(key.public.fingerprint)}`,
    secret,
    '',
  ].join('\n')
}

/** The key in a file's text. `bad_key_file` for a misspelled, incomplete or foreign file, `wrong_passphrase`,
 * `bad_password`. */
export async function readAdminKey(text: string, passphrase: string | null = null): Promise<AdminKey> {
  const lines = text.split(/\r\n|\r|\n/).filter((line) => !line.startsWith('#'))
  const fields = new Map<string, string>()
  for (const [name, value, ...more] of lines.map((line) => line.split(/[ \t]+/).filter(Boolean))) {
    if (name === undefined) continue
    if (value === undefined || more.length || fields.has(name)) throw incomplete()
    fields.set(name, value)
  }
  const secret = fields.get('secret')
  const locked = fields.get('locked')
  if (fields.size !== 2 || !fields.has('public') || (secret === undefined) === (locked === undefined)) {
    throw incomplete()
  }
  const key = await refusedAs('bad_key_file', async () =>
    AdminKey.from(
      secret === undefined
        ? await unlockBytes(unb64(locked!), passphrase, labels.KEY_FILE)
        : fromBech32(secret),
    ),
  )
  if (b32(key.public.fingerprint) !== fields.get('public')) {
    throw new SiloError('bad_key_file', "its public line is another key's")
  }
  return key
}

function incomplete(): SiloError {
  return new SiloError('bad_key_file', 'it has one public line and one secret line')
}

// --- Bech32 (BIP 173) ---

const LETTERS = 'qpzry9x8gf2tvdw0s3jn54khce6mua7l'
const CHECKSUM = 6
const LONGEST = 90

function polymod(values: readonly number[]): number {
  let sum = 1
  for (const value of values) {
    const top = sum >>> 25
    sum = ((sum & 0x1ffffff) << 5) ^ value
    const parts = [0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3]
    parts.forEach((part, at) => {
      sum ^= (top >> at) & 1 ? part : 0
    })
  }
  return sum
}

function expanded(human: string): number[] {
  const codes = [...human].map((letter) => letter.charCodeAt(0))
  return [...codes.map((code) => code >> 5), 0, ...codes.map((code) => code & 31)]
}

function toBech32(data: Bytes): string {
  const words: number[] = []
  let held = 0
  let bits = 0
  for (const byte of data) {
    held = ((held & 31) << 8) | byte
    for (bits += 8; bits >= 5; ) {
      bits -= 5
      words.push((held >> bits) & 31)
    }
  }
  if (bits) words.push((held << (5 - bits)) & 31)
  const sum = polymod([...expanded(HUMAN_PART), ...words, ...Array<number>(CHECKSUM).fill(0)]) ^ 1
  const check = Array.from({ length: CHECKSUM }, (_, at) => (sum >> (5 * (CHECKSUM - 1 - at))) & 31)
  return `${HUMAN_PART}1${[...words, ...check].map((word) => LETTERS.charAt(word)).join('')}`
}

function fromBech32(text: string): Bytes {
  const misspelled = refused('its secret line is misspelled')
  const lower = text.toLowerCase()
  const words = [...lower.slice(HUMAN_PART.length + 1)].map((letter) => LETTERS.indexOf(letter))
  const fits =
    text.length <= LONGEST &&
    /^[!-~]*$/.test(text) &&
    (text === lower || text === text.toUpperCase()) &&
    lower.startsWith(`${HUMAN_PART}1`) &&
    words.length === Math.ceil((SEED_SIZE * 8) / 5) + CHECKSUM &&
    !words.includes(-1) &&
    polymod([...expanded(HUMAN_PART), ...words]) === 1
  if (!fits) throw misspelled
  const data: number[] = []
  let held = 0
  let bits = 0
  for (const word of words.slice(0, -CHECKSUM)) {
    held = ((held & 255) << 5) | word
    bits += 5
    if (bits >= 8) {
      bits -= 8
      data.push((held >> bits) & 255)
    }
  }
  // What is left over fills up the last letter: zeros.
  if (held & ((1 << bits) - 1)) throw misspelled
  return Uint8Array.from(data)
}
