// What is done with each structure of tests/vectors, by its `what`: the client's end of
// tests/silo/crypto/test_vectors.py, one function for one there.

import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'

import type { BagKeys } from '../src/crypto/bags.ts'
import { type Bytes, concat, readU64, same, u64 } from '../src/crypto/bytes.ts'
import { ReplyOpener, keyId, part, readKeys, seen } from '../src/crypto/channel.ts'
import { newest, readEntry, signedEntry } from '../src/crypto/directory.ts'
import { b32, hashBytes, idBytes, padme, unb64, utf8 } from '../src/crypto/encoding.ts'
import { ReplyFrames, WholeOpener } from '../src/crypto/frames.ts'
import * as hpke from '../src/crypto/hpke.ts'
import * as json from '../src/crypto/json.ts'
import { readAdminKey } from '../src/crypto/keyfile.ts'
import { type Keyring, identities, signedKeyring, verifyChain, verifyKeyring } from '../src/crypto/keyring.ts'
import * as keys from '../src/crypto/keys.ts'
import * as labels from '../src/crypto/labels.ts'
import { digest, pack, unpack } from '../src/crypto/labels.ts'
import {
  type Lock,
  type LockSecret,
  deviceSecret,
  lock,
  lockSalt,
  parseManifest,
  prfSecret,
  proofHash,
  readManifest,
  recoverySecret,
  signedManifest,
  stretch,
  stretchText,
} from '../src/crypto/locks.ts'
import {
  Log,
  Opener,
  checkReceipt,
  checkRecipients,
  openCore,
  openEpochs,
  openRecord,
  openSealed,
  openWithKey,
  readPlace,
} from '../src/crypto/opening.ts'
import { type Rotation, checkNext, readRotation, rotatedStatement, rotation } from '../src/crypto/rotation.ts'
import { checkTurn, coreHash, frameKey, headHash } from '../src/crypto/sealing.ts'
import { checkDeletion, checkTombstone, tombstoneHash, tombstoneStatement } from '../src/crypto/tombstones.ts'
import { openLock, walkBack } from '../src/crypto/unlocking.ts'
import { SiloError, refused } from '../src/errors.ts'
import { type Value, type Vector, spell } from './form.ts'

/** What a run came to. */
export interface Outcome {
  /** A code of errors.ts, or `success`, with spaces: as `expect` spells it. */
  readonly verdict: string
  /** SHA-256 of what was released, hexadecimal. */
  readonly released: string
  /** What a reader found, by the names of the file's fields, spelled as there. */
  readonly shown: Readonly<Record<string, readonly string[]>>
}

class Run {
  data: Bytes = new Uint8Array(0)
  readonly shown: Record<string, string[]> = {}

  show(key: string, ...found: readonly Value[]): void {
    this.shown[key] = found.map(spell)
  }
}

type Runner = (v: Vector, run: Run) => void | Promise<void>

/** Runs one file. */
export async function outcome(v: Vector): Promise<Outcome> {
  const runner = RUNNERS[v.text('what')]
  assert.ok(runner, `nobody knows what a "${v.text('what')}" is`)
  const run = new Run()
  let verdict = 'success'
  try {
    await runner(v, run)
  } catch (error) {
    if (!(error instanceof SiloError)) throw error
    verdict = error.code.replaceAll('_', ' ')
  }
  return { verdict, released: sha256(run.data), shown: run.shown }
}

function sha256(data: Uint8Array): string {
  return createHash('sha256').update(data).digest('hex')
}

// --- streams: whatever pieces the bytes come in, the verdict and what is released are the same ---

interface Streamed<T> {
  push(data: Uint8Array): Promise<T[]>
  finish(): Bytes | void
}

async function stream<T>(
  data: Bytes,
  fresh: () => Streamed<T>,
  run: Run,
  spelled: (one: T) => Bytes,
): Promise<void> {
  const verdicts = new Set<string>()
  let failed: SiloError | undefined
  for (const size of [data.length || 1, 277, Math.max(1, Math.floor(data.length / 4000))]) {
    const opener = fresh()
    const released: Bytes[] = []
    failed = undefined
    try {
      for (let at = 0; at < data.length; at += size) {
        released.push(...(await opener.push(data.subarray(at, at + size))).map(spelled))
      }
      released.push(opener.finish() ?? new Uint8Array(0))
    } catch (error) {
      if (!(error instanceof SiloError)) throw error
      failed = error
      // A fault stays: nothing comes out later, and the verdict does not soften.
      assert.throws(() => opener.finish(), { code: error.code })
    }
    run.data = concat(...released)
    verdicts.add(`${failed?.code} ${sha256(run.data)}`)
  }
  assert.equal(verdicts.size, 1, 'how the bytes were cut made a difference')
  if (failed) throw failed
}

async function chain(v: Vector): Promise<Keyring> {
  const read = v.texts('keyring').map((text) => json.readJson(utf8(text), signedKeyring))
  return verifyChain(read, v.data('silo'), v.data('pin'))
}

async function bagKeys(v: Vector): Promise<BagKeys> {
  const place = {
    silo: v.data('silo'),
    user: v.data('user'),
    thread: v.data('thread'),
    version: v.number('version'),
    at: v.number('at'),
    entry: v.data('entry-hash'),
  }
  return (await Opener.from(v.data('seed'))).openBag(v.data('sealed'), place)
}

function join(...parts: readonly Bytes[]): string {
  return parts.map(spell).join(' ')
}

// Some tenths of a second each, and most of the files have the same password.
const stretched = new Map<string, Promise<LockSecret>>()

async function secretOf(v: Vector, of: Lock, silo: Bytes, genesis: Bytes): Promise<LockSecret> {
  if (of.kind === 'device') return deviceSecret(v.data('secret'))
  if (of.kind === 'recovery') return recoverySecret(v.data('secret'), silo, genesis)
  if (of.kind === 'prf') return prfSecret(v.data('secret'), silo, genesis)
  const known = [v.text('password'), of.salt, silo, genesis].join(' ')
  const secret = stretched.get(known) ?? stretch(v.string('password'), lockSalt(of), silo, genesis)
  stretched.set(known, secret)
  return secret
}

function rotations(v: Vector): Rotation[] {
  return v.texts('rotation').map((text) => json.readJson(utf8(text), rotation))
}

export const RUNNERS: Readonly<Record<string, Runner>> = {
  // --- building blocks ---

  async pack(v, run) {
    const fields = unpack(v.text('label'), v.data('bytes'), v.number('count'))
    run.show('field', ...fields)
    run.show('digest', await digest(v.text('label'), ...fields))
    assert.ok(same(pack(v.text('label'), ...fields), v.data('bytes')))
  },

  spelling(v, run) {
    const [decode, reader] = {
      id: [idBytes, json.id] as const,
      hash: [hashBytes, json.hash] as const,
      blob: [unb64, json.blob] as const,
    }[v.text('kind')]!
    const text = v.string('string')
    run.show('bytes', decode(text))
    assert.equal(reader(text, '$'), text)
  },

  json(v) {
    const data = v.data('bytes')
    if (v.text('shape') === 'seen') json.readJson(data, seen)
    else json.parseJson(data)
  },

  padme(v, run) {
    const sizes = v.text('sizes').split(' ')
    run.show('padded', sizes.map((size) => padme(Number(size))).join(' '))
  },

  async derive(v, run) {
    const salt = v.has('salt') ? v.data('salt') : new Uint8Array(0)
    run.show('derived', await keys.deriveSalted(salt, v.data('secret'), v.text('label'), ...v.datas('field')))
  },

  async setup(v, run) {
    const bearer = await keys.setupBearer(v.data('secret'))
    run.show('bearer', bearer)
    run.show('hash', await keys.setupHash(bearer))
  },

  async fingerprint(v, run) {
    const [sign, seal] = [v.data('sign'), v.data('seal')]
    const admin = await keys.adminFingerprint(sign, seal)
    run.show('sign-fingerprint', await keys.fingerprint(sign))
    run.show('seal-fingerprint', await keys.fingerprint(seal))
    run.show('admin-fingerprint', admin)
    run.show('device-fingerprint', await keys.deviceFingerprint(sign, seal))
    run.show('spoken', keys.spoken(admin))
    run.show('key-id', b32((await keys.fingerprint(seal)).subarray(0, 8)))
  },

  async admin(v, run) {
    const key = await keys.AdminKey.from(v.data('seed'))
    run.show('sign-seed', await keys.derive(key.seed, labels.ADMIN_SIGN))
    run.show('seal-seed', key.sealSeed)
    run.show('sign', key.public.sign)
    run.show('seal', key.public.seal)
  },

  async 'xwing-seed'(v, run) {
    const recipient = await keys.recipientOf(v.data('seed'))
    if (!same(recipient.public, v.data('public'))) throw refused('another key')
    const expanded = createHash('shake256', { outputLength: 96 }).update(v.data('seed')).digest()
    run.show('mlkem-seed', Uint8Array.from(expanded.subarray(0, 64)))
    run.show('x25519-private', Uint8Array.from(expanded.subarray(64)))
    run.show('fingerprint', recipient.fingerprint)
  },

  async 'xwing-public'(v) {
    await keys.Recipient.of(v.data('public'))
  },

  async hpke(v, run) {
    const key = await hpke.PrivateKey.from(v.data('seed'))
    run.show('plaintext', await openSealed(key, v.data('sealed'), v.text('label'), ...v.datas('field')))
  },

  async signature(v) {
    await keys.verify(v.data('public'), v.data('signature'), v.text('label'), ...v.datas('field'))
  },

  async 'frames-reply'(v, run) {
    const [key, context] = [v.data('key'), v.data('context')]
    await stream(v.data('stream'), () => new ReplyFrames(key, context), run, (payload) => payload)
    assert.ok(same(run.data, v.has('payload') ? concat(...v.datas('payload')) : run.data))
    v.texts('plaintext')
  },

  async 'frames-whole'(v, run) {
    const [key, context] = [v.data('key'), v.data('context')]
    await stream(v.data('stream'), () => new WholeOpener(key, context, 1 << 24), run, (none) => none)
    run.show('content', run.data)
    v.texts('plaintext')
  },

  // --- the door ---

  async reply(v, run) {
    const [secret, transcript, data] = [v.data('secret'), v.data('transcript'), v.data('bytes')]
    await stream(data, () => new ReplyOpener(secret, transcript), run, part)
    const salt = data.slice(0, 32)
    run.show('salt', salt)
    run.show('reply-key', await keys.deriveSalted(concat(transcript, salt), secret, labels.DOOR_REPLY))
    if (v.has('part')) assert.ok(same(run.data, concat(...v.datas('part'))))
  },

  async keys(v, run) {
    const nonce = v.has('nonce') ? v.text('nonce') : null
    const clock = v.has('clock') ? v.number('clock') : null
    const answer = utf8(v.text('answer'))
    const read = await readKeys(answer, v.data('silo'), v.data('identity'), nonce, clock)
    run.show('now', read.now)
    run.show('key-id', ...(await Promise.all(read.destinations.map(keyId))))
    run.show('statement-json', (JSON.parse(v.text('answer')) as { statement: string }).statement)
  },

  // --- what is kept ---

  async enrolment(v, run) {
    const read = await keys.readEnrolment(v.data('statement'), v.data('signature'))
    for (const name of ['silo', 'user', 'device', 'sign', 'seal', 'time'] as const) run.show(name, read[name])
    run.show('fingerprint', await keys.deviceFingerprint(read.sign, read.seal))
    assert.ok(same(keys.enrolmentStatement(read), v.data('statement')))
  },

  async vouch(v, run) {
    const [statement, signature] = [v.data('statement'), v.data('signature')]
    const read = await keys.readEnrolment(statement, signature)
    const revoked = v.has('revoked') ? v.number('revoked') : null
    await keys.checkVouch(v.data('sign'), v.data('account'), v.data('vouch'), statement, signature, revoked)
    run.show('device', read.device)
    run.show('device-public', read.sign)
  },

  async core(v, run) {
    const [core, key] = [v.data('core'), v.data('record-key')]
    run.data = await openCore(core, key)
    const place = readPlace(core)
    const head = await headHash(core.slice(0, 197))
    for (const name of ['silo', 'user', 'index', 'previous', 'thread', 'parent', 'id', 'time'] as const) {
      run.show(name, place[name])
    }
    run.show('commitment', core.slice(165, 197))
    run.show('head-hash', head)
    run.show('frame-key', await frameKey(key, head))
    run.show('content', run.data)
    run.show('core-hash', await coreHash(core))
  },

  async wrap(v, run) {
    const opener = await Opener.from(v.data('seed'))
    run.show('record-key', await opener.openWrap(v.data('sealed'), v.data('core-hash')))
    run.show('recipient', opener.fingerprint)
  },

  async receipt(v, run) {
    const read = await checkReceipt(v.data('receipt'), v.data('identity'), v.data('core'))
    if (v.has('named')) checkRecipients(read, v.datas('named'))
    run.show('core-hash', read.coreHash)
    run.show('entry-hash', read.entryHash)
    run.show('recipient', ...read.recipients)
    run.show('time', read.time)
  },

  async record(v, run) {
    const wraps = new Map(v.tuples('wrap').map(([mark, sealed]) => [b32(mark!), sealed!]))
    const envelope = { core: v.data('core'), wraps, receipt: v.data('receipt') }
    const openers = [await Opener.from(v.data('seed'))]
    const opened = await openRecord(envelope, openers, v.data('silo'), v.data('user'), v.data('identity'))
    run.data = opened.content
  },

  async log(v) {
    const [newest] = v.tuples('seen').map(([index, entry]) => [readU64(index!), entry!] as const)
    const log = new Log(v.data('silo'), v.data('user'), BigInt(v.text('at')), v.data('start'), newest ?? null)
    for (const [index, thread, core] of v.tuples('entry')) await log.step(readU64(index!), thread!, core!)
    log.check(v.data('head-hash'))
  },

  async tombstone(v, run) {
    const keyrings: Keyring[] = []
    for (const text of v.texts('keyring')) {
      const read = json.readJson(utf8(text), signedKeyring)
      keyrings.push(await verifyKeyring(read, v.data('silo'), v.data('pin'), keyrings.at(-1) ?? null))
    }
    const erased = {
      silo: v.data('silo'),
      user: v.data('user'),
      index: v.number('index'),
      coreHash: v.data('core-hash'),
      entryHash: v.data('entry-hash'),
    }
    const statement = v.data('statement')
    const devices = new Map([[b32(v.data('device')), [v.data('device-public')]]])
    const read = await checkTombstone(statement, v.data('signature'), erased, keyrings, devices)
    assert.ok(same(tombstoneStatement(read), statement))
    for (const name of ['made', 'who', 'why', 'time'] as const) run.show(name, read[name])
    run.show('version', read.keyringVersion)
    run.show('keyring-hash', read.keyringHash)
    run.show('tombstone-hash', await tombstoneHash(statement))
  },

  async deletion(v, run) {
    const read = await checkDeletion(v.data('receipt'), v.data('statement'), [v.data('identity')])
    run.show('tombstone-hash', read.tombstoneHash)
    run.show('time', read.time)
    run.show('until', read.until ?? 0)
    run.show('also', read.also.join(','))
  },

  async bag(v) {
    const held = [...(await bagKeys(v))].map(([index, key]) => [u64(index), key])
    if (v.has('held')) assert.deepEqual(held, v.tuples('held'))
    if (v.has('plaintext')) {
      const content = concat(...held.flat())
      const plain = v.data('plaintext')
      assert.ok(same(plain.subarray(0, 8 + content.length), concat(u64(content.length), content)))
    }
  },

  async bagged(v, run) {
    const keys = await bagKeys(v)
    const envelope = { core: v.data('core'), wraps: new Map<string, Bytes>(), receipt: v.data('receipt') }
    const key = keys.get(readPlace(envelope.core).index)
    if (!key) throw new SiloError('no_match')
    const [silo, user, identity] = [v.data('silo'), v.data('user'), v.data('identity')]
    run.data = (await openWithKey(envelope, key, silo, user, identity)).content
  },

  async turn(v, run) {
    const [silo, user, thread] = [v.data('silo'), v.data('user'), v.data('thread')]
    const place = { silo, user, thread, id: v.data('turn'), parent: v.data('parent') }
    const text = utf8(v.text('text'))
    await checkTurn(v.data('device-public'), v.data('signature'), place, text)
    run.show('text-digest', await digest(labels.TURN, text))
  },

  // --- the keyring, and what keeps secrets ---

  async keyring(v, run) {
    const keyring = await chain(v)
    run.show('version', keyring.document.version)
    run.show('hash', keyring.hash)
    run.show('document', keyring.signed.document)
    const { extras } = keyring.document
    const marks = await Promise.all(extras.map((extra) => keys.fingerprint(unb64(extra.recipient))))
    run.show('extra', ...extras.map((extra, at) => join(idBytes(extra.user), marks[at]!)))
    run.show('signer', keyring.signed.signer)
    run.show('signature', unb64(keyring.signed.signature))
  },

  async vault(v, run) {
    const keyring = await chain(v)
    const openers = await openEpochs(await keys.AdminKey.from(v.data('seed')), keyring)
    run.show('opened', ...openers.map((opener) => opener.fingerprint))
    const [first] = keyring.document.epochs
    const half = first?.halves[0]
    if (!first || !half) return
    run.show('epoch', first.id)
    run.show('holder', hashBytes(half.holder))
    run.show('sealed', unb64(half.sealed))
    run.show('epoch-public', unb64(first.public))
    if (v.has('epoch-seed')) {
      assert.ok(same((await keys.recipientOf(v.data('epoch-seed'))).fingerprint, openers[0]!.fingerprint))
    }
  },

  async identities(v, run) {
    run.show('identity', ...identities(await chain(v), v.datas('former')))
  },

  async directory(v, run) {
    const keyring = await chain(v)
    const signed = v.texts('signed-entry').map((text) => json.readJson(utf8(text), signedEntry))
    const seenBefore = new Map(v.tuples('seen').map(([user, time]) => [b32(user!), readU64(time!)]))
    const entries = []
    for (const one of signed) entries.push(await readEntry(one, keyring))
    const listed = newest(entries, seenBefore)
    if (signed[0]) {
      run.show('statement', unb64(signed[0].statement))
      run.show('signature', unb64(signed[0].signature))
    }
    run.show('listed', ...[...listed.values()].map((entry) => join(entry.user, utf8(entry.name), entry.account, entry.sign)))
  },

  async account(v, run) {
    const key = await keys.AccountKey.from(v.data('seed'))
    run.show('public', key.recipient.public)
    run.show('fingerprint', key.fingerprint)
    run.show('sign-seed', await keys.derive(key.seed, labels.ACCOUNT_SIGN))
    run.show('sign', key.signer.public)
    run.show('mac-key', key.macKey)
  },

  async lock(v, run) {
    const read = json.readJson(utf8(v.text('lock')), lock)
    const [silo, genesis, user] = [v.data('silo'), v.data('genesis'), v.data('user')]
    const secret = await secretOf(v, read, silo, genesis)
    const accepted = v.has('accepted') ? v.data('accepted') : null
    const listed = v.has('listed') ? v.data('listed') : null
    const unlocked = await openLock(read, secret, silo, genesis, user, rotations(v), accepted, listed)
    const hashed = await proofHash(secret)
    run.show('account-seed', ...unlocked.keys.map((key) => key.seed))
    run.show('least', unlocked.manifest)
    run.show('is-listed', Number(unlocked.listed))
    run.show('proof', ...(secret.proof ? [secret.proof] : []))
    run.show('seal-seed', secret.sealSeed)
    run.show('mac-key', ...(secret.macKey ? [secret.macKey] : []))
    run.show('proof-hash', ...(hashed ? [hashed] : []))
    if (v.has('salt')) {
      const salt = lockSalt(read)
      run.show('salt', salt)
      run.show('argon2-salt', (await digest(labels.LOCK_SALT, silo, genesis, salt)).slice(0, 16))
      const proof = await keys.derive(v.data('stretched'), labels.LOCK_PROOF, utf8('password'), silo, genesis)
      assert.ok(same(proof, secret.proof!))
    }
  },

  async manifest(v, run) {
    const signed = json.readJson(utf8(v.text('manifest')), signedManifest)
    const least = v.has('least') ? v.number('least') : 0
    const account = await keys.AccountKey.from(v.data('seed'))
    const read = await readManifest(signed, account, v.data('silo'), v.data('user'), least)
    run.show('version', read.version)
    run.show('text', signed.manifest)
    run.show('mac', hashBytes(signed.mac))
    run.show('listed', ...read.locks.map((one) => idBytes(one.id)))
  },

  async rotation(v, run) {
    const [one] = rotations(v)
    const { rotated, device } = await readRotation(one!, v.data('silo'), v.data('user'), v.data('sign'))
    if (v.has('manifest')) {
      const read = []
      for (const text of v.texts('manifest')) read.push(await parseManifest(json.readJson(utf8(text), signedManifest)))
      checkNext(rotated, read[0]!, read[1]!)
    }
    run.show('statement', rotatedStatement(rotated))
    run.show('old', rotated.old)
    run.show('new', rotated.new)
    run.show('new-sign', rotated.sign)
    run.show('version', rotated.manifest)
    run.show('device', device.device)
    run.show('time', rotated.time)
  },

  async walk(v, run) {
    const start = v.has('start') ? v.data('start') : null
    const account = await keys.AccountKey.from(v.data('seed'))
    const found = await walkBack(account, rotations(v), v.data('silo'), v.data('user'), start)
    run.show('account', ...found.map((key) => key.fingerprint))
  },

  async keyfile(v, run) {
    const phrase = v.has('passphrase') ? v.string('passphrase') : null
    const key = await readAdminKey(v.string('file'), phrase)
    run.show('seed', key.seed)
    run.show('fingerprint', key.public.fingerprint)
    if (v.has('locked')) {
      run.show('salt', unpack(labels.KEY_FILE, v.data('locked'), 2)[0]!)
      run.show('stretched', await stretchText(v.string('passphrase'), v.data('salt')))
      assert.ok(v.string('file').includes(`locked  ${v.text('locked')}\n`))
    }
  },
}
