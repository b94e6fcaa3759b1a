// How a record's bytes are laid out (SPEC 7.1, 7.3), and what a device signs of a turn (SPEC 7.6). A browser seals no
// record: everything that becomes one goes through the door, and the silo seals it.

import { type Bytes, concat, u64, zeros } from './bytes.ts'
import { type Signer, derive, deriveSalted, verify } from './keys.ts'
import * as labels from './labels.ts'
import { digest } from './labels.ts'

export const MAGIC = new TextEncoder().encode('securesilo/1 record\n')
export const HEADER_SIZE = MAGIC.length + 16 + 16 + 8 + 32 + 16 + 32 + 1 + 16 + 8 + 32
/** Stands for "none": the record before the first, the parent of a thread's first turn. */
export const NO_HASH = zeros(32)

/** Where a record stands: everything its core binds beside the content (SPEC 7.1). */
export interface Place {
  readonly silo: Bytes
  readonly user: Bytes
  /** Its number in the user's log, from 1. */
  readonly index: bigint
  /** Entry hash of the log's entry before, 32 bytes; zeros for the first. */
  readonly previous: Bytes
  readonly thread: Bytes
  /** Core hash of the record whose context was used; zeros: none. */
  readonly parent: Bytes
  readonly kind: number
  /** Chosen by the client: for a turn, the turn id. */
  readonly id: Bytes
  /** Milliseconds since 1970. */
  readonly time: bigint
}

/** The core's bytes from the magic line to the time (165 bytes). */
export function spell(place: Place): Bytes {
  const { silo, user, index, previous, thread, parent, kind, id, time } = place
  return concat(MAGIC, silo, user, u64(index), previous, thread, parent, Uint8Array.of(kind), id, u64(time))
}

/** Binds the record key to its place: AES-GCM alone would open under more than one key (SPEC 7.1). */
export function commitment(recordKey: Bytes, spelled: Bytes): Promise<Bytes> {
  return derive(recordKey, labels.RECORD_COMMITMENT, spelled)
}

/** Over the bytes before the first frame. */
export function headHash(header: Bytes): Promise<Bytes> {
  return digest(labels.RECORD_HEAD, header)
}

/** The key of a record's frames. */
export function frameKey(recordKey: Bytes, head: Bytes): Promise<Bytes> {
  return deriveSalted(head, recordKey, labels.RECORD_FRAMES)
}

/** Over all bytes of a core: log, wraps, receipts carry this one. */
export function coreHash(core: Bytes): Promise<Bytes> {
  return digest(labels.RECORD_CORE, core)
}

/** The hash of one entry of a user's log; `core` is the core hash (SPEC 7.3). */
export function logEntry(
  previous: Bytes,
  silo: Bytes,
  user: Bytes,
  index: bigint,
  thread: Bytes,
  core: Bytes,
): Promise<Bytes> {
  return digest(labels.LOG_ENTRY, previous, silo, user, u64(index), thread, core)
}

// --- what the device signs of a turn (SPEC 7.6) ---

/** What a device's signature binds a turn to; all raw bytes. */
export interface TurnPlace {
  readonly silo: Bytes
  readonly user: Bytes
  readonly thread: Bytes
  readonly id: Bytes
  readonly parent: Bytes
}

async function turnFields(place: TurnPlace, text: Bytes): Promise<Bytes[]> {
  return [place.silo, place.user, place.thread, place.id, place.parent, await digest(labels.TURN, text)]
}

/** The device's signature over a turn's JSON text as sent. */
export async function signTurn(device: Signer, place: TurnPlace, text: Bytes): Promise<Bytes> {
  return device.sign(labels.TURN, ...(await turnFields(place, text)))
}

/** `forged` unless the device signed this turn for this place. */
export async function checkTurn(device: Bytes, signature: Bytes, place: TurnPlace, text: Bytes): Promise<void> {
  await verify(device, signature, labels.TURN, ...(await turnFields(place, text)))
}
