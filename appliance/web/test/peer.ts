// The other language for Python's tests (tests/node.py): reads lines of JSON, each a list of jobs, and answers each with
// one line, the list of results. Bytes are base64url.

import { createInterface } from 'node:readline'

import { signEntry } from '../src/crypto/directory.ts'
import { b32, b64, hashBytes, unb64, utf8 } from '../src/crypto/encoding.ts'
import { sealBag } from '../src/crypto/bags.ts'
import { type ReplyOpener, newRequest, part, sealRequest } from '../src/crypto/channel.ts'
import * as hpke from '../src/crypto/hpke.ts'
import { readAdminKey, writeAdminKey } from '../src/crypto/keyfile.ts'
import * as keys from '../src/crypto/keys.ts'
import * as labels from '../src/crypto/labels.ts'
import * as locks from '../src/crypto/locks.ts'
import { openSealed } from '../src/crypto/opening.ts'
import { follow, makeRotation, nextLocks, vouchAnew } from '../src/crypto/rotation.ts'
import { signTurn } from '../src/crypto/sealing.ts'
import { signTombstone } from '../src/crypto/tombstones.ts'
import { SiloError } from '../src/errors.ts'
import { Vector } from './form.ts'
import { outcome } from './runners.ts'

type Job = Readonly<Record<string, string>>

const bytes = (job: Job, key: string) => unb64(job[key]!)
const replies = new Map<string, ReplyOpener>()

const DO: Readonly<Record<string, (job: Job) => Promise<unknown>>> = {
  /** A vector file. */
  run: (job) => outcome(new Vector(job['name']!, job['text']!)),

  seal: async (job) => b64(await (await keys.Recipient.of(bytes(job, 'public'))).seal(bytes(job, 'plaintext'), job['label']!, bytes(job, 'field'))),

  open: async (job) => b64(await openSealed(await hpke.PrivateKey.from(bytes(job, 'seed')), bytes(job, 'sealed'), job['label']!, bytes(job, 'field'))),

  public: async (job) => b64((await keys.recipientOf(bytes(job, 'seed'))).public),

  /** A request by the device with this seed; its answer is opened by `reply` under the same name. */
  request: async (job) => {
    const [silo, identity] = [bytes(job, 'silo'), bytes(job, 'identity')]
    const destination = { silo, identity, public: bytes(job, 'public'), since: 0, until: 0 }
    const device = job['device'] ? { id: bytes(job, 'device'), signer: await keys.Signer.from(bytes(job, 'seed')) } : null
    const asked = {
      ...newRequest('POST', '/chat', Number(job['time'])),
      headers: { accept: 'text/plain' },
      account: bytes(job, 'account'),
      keyring: { at: 7, hash: job['hash']! },
    }
    const sealed = await sealRequest(destination, asked, bytes(job, 'content'), device)
    replies.set(job['name']!, sealed.reply)
    return { id: asked.id, bytes: b64(sealed.bytes) }
  },

  reply: async (job) => {
    const opener = replies.get(job['name']!)!
    const parts = await opener.push(bytes(job, 'bytes'))
    opener.finish()
    return parts.map((one) => b64(part(one)))
  },

  sign: async (job) => b64(await (await keys.Signer.from(bytes(job, 'seed'))).sign(job['label']!, bytes(job, 'field'))),

  turn: async (job) => {
    const place = { silo: bytes(job, 'silo'), user: bytes(job, 'user'), thread: bytes(job, 'thread'), id: bytes(job, 'turn'), parent: hashBytes(job['parent']!) }
    return b64(await signTurn(await keys.Signer.from(bytes(job, 'seed')), place, utf8(job['text']!)))
  },

  tombstone: async (job) => b64(await signTombstone(await keys.Signer.from(bytes(job, 'seed')), bytes(job, 'statement'))),

  bag: async (job) => {
    const place = { silo: bytes(job, 'silo'), user: bytes(job, 'user'), thread: bytes(job, 'thread'), version: 3, at: 9, entry: bytes(job, 'entry') }
    const held = new Map([[4n, bytes(job, 'one')], [9n, bytes(job, 'two')]])
    return b64(await sealBag(place, held, await keys.Recipient.of(bytes(job, 'public'))))
  },

  /** An account with a lock of each kind, and what a rotation of its key leaves. */
  account: async (job) => {
    const [silo, user, genesis, secret] = [bytes(job, 'silo'), bytes(job, 'user'), bytes(job, 'genesis'), bytes(job, 'secret')]
    const old = await keys.AccountKey.from(bytes(job, 'old'))
    const next = await keys.AccountKey.from(bytes(job, 'next'))
    const signer = await keys.Signer.from(bytes(job, 'seed'))
    const others = [
      await locks.recoverySecret(secret, silo, genesis),
      await locks.prfSecret(secret, silo, genesis),
      locks.deviceSecret(secret),
    ]
    const made = [await locks.makePasswordLock(job['password']!, old, silo, genesis, user)]
    for (const [at, one] of others.entries()) {
      made.push(await locks.makeLock(one, new Uint8Array(16).fill(at), old, silo, genesis, user))
    }
    const manifest = await locks.stateManifest(old, silo, user, 1, made)
    const read = await locks.readManifest(manifest, old, silo, user, 1)
    const device = { silo, user, device: bytes(job, 'device'), sign: signer.public, seal: next.recipient.public, time: 5n }
    const statement = keys.enrolmentStatement(device)
    const signature = await signer.sign(labels.ENROLMENT, statement)
    const vouch = await old.vouch(statement, signature)
    const enrolment = { statement: b64(statement), signature: b64(signature), vouch: b64(vouch) }
    const rotation = await makeRotation(old, next, signer, enrolment, 2, silo, user, 6)
    const after = await nextLocks(read, next, genesis, [made[2]!.id])
    const listed = [{ enrolment, revoked: null }]
    const anew = []
    for (const known of [[[b32(device.device), null]], [[b32(device.device), 9]], []] as const) {
      anew.push(...(await vouchAnew(old, next, listed, silo, user, new Map<string, number | null>(known))))
    }
    return { locks: made, manifest, rotation, after, anew }
  },

  follow: async (job) => {
    const rotations = JSON.parse(job['rotations']!)
    const last = await follow(rotations, bytes(job, 'silo'), bytes(job, 'user'), bytes(job, 'account'), bytes(job, 'sign'))
    return [b64(last.account), b64(last.sign)]
  },

  entry: async (job) => {
    const admin = await keys.AdminKey.from(bytes(job, 'seed'))
    return signEntry(admin, { silo: bytes(job, 'silo'), user: bytes(job, 'user'), name: job['name']!, account: bytes(job, 'account'), sign: bytes(job, 'sign'), time: 7n })
  },

  'write-key': async (job) => writeAdminKey(await keys.AdminKey.from(bytes(job, 'seed')), job['comment']!, job['passphrase'] ?? null),

  'read-key': async (job) => b64((await readAdminKey(job['text']!, job['passphrase'] ?? null)).seed),
}

async function run(job: Job): Promise<unknown> {
  try {
    return await DO[job['do']!]!(job)
  } catch (error) {
    if (error instanceof SiloError) return { refused: error.code }
    // A mistake in one of the twins: the driver shows it.
    return { verdict: `crash: ${error instanceof Error ? error.stack : String(error)}` }
  }
}

// Some at a time: WebCrypto works beside us.
const AT_ONCE = 8

for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
  const jobs = JSON.parse(line) as Job[]
  const results: unknown[] = []
  for (let at = 0; at < jobs.length; at += AT_ONCE) {
    results.push(...(await Promise.all(jobs.slice(at, at + AT_ONCE).map(run))))
  }
  process.stdout.write(`${JSON.stringify(results)}\n`)
}
