// The page's half of bench/opening.py: how long a thread takes to open, by wraps and by its key bag. Of what it is
// given, bytes are base64url; `bag` has what a bag is bound to. Gives each round's milliseconds.

import { type Bytes } from '../src/crypto/bytes.ts'
import { b32, unb64 } from '../src/crypto/encoding.ts'
import { type Envelope, Log, type OpenedRecord, Opener, openRecord, openWithKey, readPlace } from '../src/crypto/opening.ts'

export interface Given {
  readonly silo: string
  readonly user: string
  readonly thread: string
  readonly identity: string
  readonly seed: string
  readonly rounds: number
  readonly records: readonly { readonly core: string; readonly wrap: string; readonly receipt: string }[]
  readonly bag: { readonly version: number; readonly at: number; readonly entry: string; readonly sealed: string }
}

export async function measured(given: Given): Promise<Record<string, number[]>> {
  const [silo, user, thread, identity] = [given.silo, given.user, given.thread, given.identity].map(unb64) as [
    Bytes,
    Bytes,
    Bytes,
    Bytes,
  ]
  const opener = await Opener.from(unb64(given.seed))
  const envelopes: Envelope[] = given.records.map((one) => ({
    core: unb64(one.core),
    wraps: new Map([[b32(opener.fingerprint), unb64(one.wrap)]]),
    receipt: unb64(one.receipt),
  }))
  const { version, at, entry, sealed } = given.bag

  // Records side by side, as far as the machine has cores; then the log over them, in order.
  const walk = async (opening: (envelope: Envelope) => Promise<OpenedRecord>) => {
    const log = new Log(silo, user)
    for (const one of await Promise.all(envelopes.map(opening))) {
      await log.step(one.place.index, one.place.thread, one.coreHash)
    }
    log.check(unb64(entry))
  }
  const byWraps = () => walk((envelope) => openRecord(envelope, [opener], silo, user, identity))
  const byBag = async () => {
    const keys = await opener.openBag(unb64(sealed), { silo, user, thread, version, at, entry: unb64(entry) })
    await walk((envelope) => openWithKey(envelope, keys.get(readPlace(envelope.core).index)!, silo, user, identity))
  }
  return { wraps: await timed(byWraps, given.rounds), bag: await timed(byBag, given.rounds) }
}

async function timed(work: () => Promise<void>, rounds: number): Promise<number[]> {
  const took: number[] = []
  for (let round = 0; round < rounds; round++) {
    const begun = performance.now()
    await work()
    took.push(performance.now() - begun)
  }
  return took
}
