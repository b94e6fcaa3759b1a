// Every label of the protocol, and the one way to put fields behind a label (SPEC 2.1, 2.2).
//
// A label names one purpose. No two purposes share one, so nothing made for one passes for another; the two steps
// of one purpose (a statement, its signature) differ in their number of fields.

import { createSHA256 } from 'hash-wasm'

import { refused } from '../errors.ts'
import { type Bytes, readU32, same } from './bytes.ts'

export const FINGERPRINT = 'securesilo/1 fingerprint'
export const ADMIN = 'securesilo/1 admin'
export const ADMIN_SIGN = 'securesilo/1 admin sign'
export const ADMIN_SEAL = 'securesilo/1 admin seal'
export const DEVICE = 'securesilo/1 device'
export const ENROLMENT = 'securesilo/1 enrolment'
export const ENROLMENT_VOUCH = 'securesilo/1 enrolment vouch'
export const KEYS = 'securesilo/1 keys'
export const SETUP_BEARER = 'securesilo/1 setup bearer'
export const SETUP_HASH = 'securesilo/1 setup hash'

export const DOOR_HEADER = 'securesilo/1 door header'
export const DOOR_SIGNATURE = 'securesilo/1 door signature'
export const DOOR_REQUEST = 'securesilo/1 door request'
export const DOOR_REPLY = 'securesilo/1 door reply'

export const RECORD_COMMITMENT = 'securesilo/1 record commitment'
export const RECORD_HEAD = 'securesilo/1 record head'
export const RECORD_FRAMES = 'securesilo/1 record frames'
export const RECORD_CORE = 'securesilo/1 record core'
export const RECORD_WRAP = 'securesilo/1 record wrap'
export const RECEIPT = 'securesilo/1 receipt'
export const LOG_ENTRY = 'securesilo/1 log entry'
export const HEADS = 'securesilo/1 heads'
export const TURN = 'securesilo/1 turn'
export const TOMBSTONE = 'securesilo/1 tombstone'
export const TOMBSTONE_HASH = 'securesilo/1 tombstone hash'
export const DELETION = 'securesilo/1 deletion'
export const KEY_BAG = 'securesilo/1 key bag'

export const KEYRING = 'securesilo/1 keyring'
export const KEYRING_HASH = 'securesilo/1 keyring hash'
export const EPOCH_HALF = 'securesilo/1 epoch half'
export const DIRECTORY_ENTRY = 'securesilo/1 directory entry'

export const ACCOUNT_SIGN = 'securesilo/1 account sign'
export const ACCOUNT_MAC_KEY = 'securesilo/1 account mac key'
export const ACCOUNT_ROTATION = 'securesilo/1 account rotation'
export const ACCOUNT_ROTATION_MAC = 'securesilo/1 account rotation mac'
export const ACCOUNT_PAST = 'securesilo/1 account past'

export const LOCK_SALT = 'securesilo/1 lock salt'
export const LOCK_PROOF = 'securesilo/1 lock proof'
export const LOCK_PROOF_HASH = 'securesilo/1 lock proof hash'
export const LOCK_SEAL = 'securesilo/1 lock seal'
export const LOCK_MAC_KEY = 'securesilo/1 lock mac key'
export const LOCK_MAC = 'securesilo/1 lock mac'
export const LOCK = 'securesilo/1 lock'
export const LOCK_MANIFEST = 'securesilo/1 lock manifest'

export const KEY_FILE = 'securesilo/1 key file'
export const DEVICE_SECRETS = 'securesilo/1 device secrets'

const encoder = new TextEncoder()

function bytesOf(label: string): Bytes {
  return encoder.encode(label)
}

/** Label and fields, each behind its length in 4 bytes, big-endian (SPEC 2.2). No two lists of fields give the
 * same bytes. */
export function pack(label: string, ...fields: readonly Uint8Array[]): Bytes {
  const all = [bytesOf(label), ...fields]
  const out = new Uint8Array(all.reduce((size, field) => size + 4 + field.length, 0))
  const view = new DataView(out.buffer)
  let at = 0
  for (const field of all) {
    view.setUint32(at, field.length)
    out.set(field, at + 4)
    at += 4 + field.length
  }
  return out
}

/** The `count` fields that `pack` put behind `label`. Refuses another label, another count, or anything before or
 * after. */
export function unpack(label: string, data: Bytes, count: number): readonly Bytes[] {
  const fields: Bytes[] = []
  let at = 0
  while (at < data.length) {
    const size = data.length - at < 4 ? Infinity : readU32(data, at)
    if (data.length - at - 4 < size) {
      throw refused('a field ends too early')
    }
    fields.push(data.slice(at + 4, at + 4 + size))
    at += 4 + size
  }
  const [first, ...rest] = fields
  if (rest.length !== count || first === undefined || !same(first, bytesOf(label))) {
    throw refused('not the fields of this label')
  }
  return rest
}

// WebCrypto goes to another thread and back for each call, which for the short texts of a log is nearly all of the time.
const SHORT = 16_384
const hashing = createSHA256()

/** SHA-256: 32 bytes. */
export async function sha256(data: Bytes): Promise<Bytes> {
  if (data.length > SHORT) {
    return new Uint8Array(await crypto.subtle.digest('SHA-256', data))
  }
  const hasher = await hashing
  // Nothing is awaited in here: one hasher serves all.
  return Uint8Array.from(hasher.init().update(data).digest('binary'))
}

/** SHA-256 over `pack(label, ...fields)`: 32 bytes (SPEC 2.2). */
export function digest(label: string, ...fields: readonly Uint8Array[]): Promise<Bytes> {
  return sha256(pack(label, ...fields))
}
