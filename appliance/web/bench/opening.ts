// How long a page takes to open a thread, by wraps and by its key bag. Reads one JSON object from stdin: bytes are
// base64url; `bag` has what a bag is bound to. Writes milliseconds: `wraps` once, `bag` the first time and the median.

import { type Bytes } from '../src/crypto/bytes.ts'
import { b32, unb64 } from '../src/crypto/encoding.ts'
import { type Envelope, Opener, openRecord, openWithKey, readPlace } from '../src/crypto/opening.ts'

interface Given {
  readonly silo: string
  readonly user: string
  readonly thread: string
  readonly identity: string
  readonly seed: string
  readonly records: readonly { readonly core: string; readonly wrap: string; readonly receipt: string }[]
  readonly bag: { readonly version: number; readonly at: number; readonly entry: string; readonly sealed: string }
}

async function main(given: Given): Promise<Record<string, number>> {
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
  const byWrap = (envelope: Envelope) => openRecord(envelope, [opener], silo, user, identity)
  await Promise.all(envelopes.slice(0, 20).map(byWrap)) // what runs first is compiled first

  const begun = performance.now()
  for (const envelope of envelopes) await byWrap(envelope)
  const wraps = performance.now() - begun

  const { version, at, entry, sealed } = given.bag
  const byBag = async () => {
    const keys = await opener.openBag(unb64(sealed), { silo, user, thread, version, at, entry: unb64(entry) })
    const key = (envelope: Envelope) => keys.get(readPlace(envelope.core).index)!
    return Promise.all(envelopes.map((envelope) => openWithKey(envelope, key(envelope), silo, user, identity)))
  }
  const times: number[] = []
  for (let run = 0; run < 15; run++) {
    const again = performance.now()
    await byBag()
    times.push(performance.now() - again)
  }
  // The first time the code is not compiled yet.
  return { records: envelopes.length, wraps, first: times[0]!, bag: times.toSorted((one, other) => one - other)[7]! }
}

let text = ''
for await (const chunk of process.stdin.setEncoding('utf8')) text += chunk
process.stdout.write(`${JSON.stringify(await main(JSON.parse(text) as Given))}\n`)
