// Key bags: the record keys of one thread in one sealed list, so that reading it takes one HPKE open (SPEC 7.8).
//
// A bag is a cache. Whatever is wrong with it, it is ignored and the wraps are used; a key from it counts only as far as
// the core's commitment and receipt fit. Opening is in opening.ts.

import { refused } from '../errors.ts'
import { type Bytes, any, concat, readU64, u64, zeros } from './bytes.ts'
import { padme } from './encoding.ts'
import { OVERHEAD } from './hpke.ts'
import type { Recipient } from './keys.ts'
import * as labels from './labels.ts'

export const KEY_SIZE = 32
/** The most keys that a bag holds; of a longer thread the newest. */
export const MOST = 16_000
const ENTRY = 8 + KEY_SIZE
/** The largest bag, in bytes as sealed. */
export const SEALED_MOST = padme(8 + MOST * ENTRY) + OVERHEAD

/** What a bag is bound to; all raw bytes but the numbers. */
export interface BagPlace {
  readonly silo: Bytes
  readonly user: Bytes
  readonly thread: Bytes
  /** 1 for a thread's first bag; each replacement is one higher. */
  readonly version: number
  /** Index in the user's log of the last record that the bag's writer knew of this thread. */
  readonly at: number
  /** That record's entry hash. */
  readonly entry: Bytes
}

/** index -> record key */
export type BagKeys = ReadonlyMap<bigint, Bytes>

/** What stands behind the label in `info`. */
export function bagFields(place: BagPlace): Bytes[] {
  return [place.silo, place.user, place.thread, u64(place.version), u64(place.at), place.entry]
}

/** The newest keys, sealed to the account key alone. Refuses an index outside 1 to `place.at`, or a key of another size
 * than 32 bytes. */
export function sealBag(place: BagPlace, keys: BagKeys, account: Recipient): Promise<Bytes> {
  const newest = [...keys].sort(([one], [other]) => (one < other ? -1 : 1)).slice(-MOST)
  if (newest.some(([index, key]) => index < 1n || index > BigInt(place.at) || key.length !== KEY_SIZE)) {
    throw refused('a bag holds keys of records up to its last')
  }
  const content = concat(...newest.flatMap(([index, key]) => [u64(index), key]))
  const padded = zeros(padme(8 + content.length))
  padded.set(u64(content.length))
  padded.set(content, 8)
  return account.seal(padded, labels.KEY_BAG, ...bagFields(place))
}

/** The keys in an opened bag whose last record is `at`. Refuses what is not well formed: size, padding, indexes that do
 * not rise or lie beyond `at`. */
export function readBag(padded: Bytes, at: number): BagKeys {
  const size = padded.length < 8 ? Infinity : Number(readU64(padded))
  const fits =
    size <= MOST * ENTRY &&
    size % ENTRY === 0 &&
    padme(8 + size) === padded.length &&
    !any(padded.subarray(8 + size))
  if (!fits) {
    throw refused('not the size or the padding of a bag')
  }
  const keys = new Map<bigint, Bytes>()
  let last = 0n
  for (let start = 8; start < 8 + size; start += ENTRY) {
    const index = readU64(padded, start)
    if (index <= last || index > BigInt(at)) {
      throw refused('the indexes do not rise')
    }
    keys.set(index, padded.slice(start + 8, start + ENTRY))
    last = index
  }
  return keys
}
