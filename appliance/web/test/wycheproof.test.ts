// Wycheproof's attacks on the primitives, as the page calls them (tests/vectors/wycheproof/README.md).

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import test from 'node:test'

import { HkdfSha256, X25519 } from '@hpke/dhkem-x25519'
import { MlKem768 } from 'mlkem'

import { type Bytes, any, concat } from '../src/crypto/bytes.ts'
import { unb64 } from '../src/crypto/encoding.ts'
import { aesKey, aesOpen, aesSeal } from '../src/crypto/frames.ts'
import { PrivateKey, checkPublic } from '../src/crypto/hpke.ts'
import { hkdf, isSigned } from '../src/crypto/keys.ts'
import { FOLDER } from './form.ts'

interface Case {
  readonly id: number
  readonly result: 'valid' | 'invalid' | 'acceptable'
  readonly [field: string]: unknown
}

function cases(name: string): Case[] {
  return JSON.parse(readFileSync(new URL(`wycheproof/${name}.json`, FOLDER), 'utf8')) as Case[]
}

const bytes = (one: Case, key: string): Bytes => unb64(one[key] as string)

function isPublic(publicKey: Bytes): boolean {
  try {
    checkPublic(publicKey)
    return true
  } catch {
    return false
  }
}

const anyPublic = (await PrivateKey.from(new Uint8Array(32))).public

test('AES-GCM', async () => {
  let opened = 0
  for (const one of cases('aes-gcm')) {
    const key = await aesKey(bytes(one, 'key'))
    const sealed = concat(bytes(one, 'ct'), bytes(one, 'tag'))
    const [iv, aad, said] = [bytes(one, 'iv'), bytes(one, 'aad'), bytes(one, 'msg')]
    const found = await aesOpen(key, iv, sealed, aad)
    assert.deepEqual(found, one.result === 'valid' ? said : null, `${one.id}`)
    if (!found) continue
    opened += 1
    assert.deepEqual(await aesSeal(key, iv, said, aad), sealed)
  }
  assert.equal(opened, 39)
})

test('Ed25519', async () => {
  let valid = 0
  for (const one of cases('ed25519')) {
    const found = await isSigned(bytes(one, 'pk'), bytes(one, 'sig'), bytes(one, 'msg'))
    assert.equal(found, one.result === 'valid', `${one.id}`)
    valid += found ? 1 : 0
  }
  assert.equal(valid, 88)
})

test('HKDF-SHA256', async () => {
  for (const one of cases('hkdf-sha256')) {
    const okm = bytes(one, 'okm')
    const made = await hkdf(bytes(one, 'salt'), bytes(one, 'ikm'), bytes(one, 'info'))
    assert.deepEqual(made.slice(0, okm.length), okm, `${one.id}`)
  }
})

// The half of X-Wing is not reached through it: this is what it calls.
test('X25519', async () => {
  const kem = new X25519(new HkdfSha256())
  let zeros = 0
  for (const one of cases('x25519')) {
    const [own, publicKey, shared] = [bytes(one, 'private'), bytes(one, 'public'), bytes(one, 'shared')]
    assert.equal(isPublic(concat(anyPublic.subarray(0, 1184), publicKey)), any(shared), `${one.id}`)
    if (any(shared)) {
      assert.deepEqual(new Uint8Array(await kem.derive(own, publicKey)), shared, `${one.id}`)
    } else {
      zeros += 1
      await assert.rejects(async () => kem.derive(own, publicKey), `${one.id}`)
    }
  }
  assert.ok(zeros > 20)
})

test('ML-KEM-768: the key that a seed gives', async () => {
  for (const one of cases('mlkem-768-keygen')) {
    const [publicKey] = await new MlKem768().deriveKeyPair(bytes(one, 'seed'))
    assert.deepEqual(Uint8Array.from(publicKey), bytes(one, 'ek'), `${one.id}`)
  }
})

test('ML-KEM-768: opening', async () => {
  let opened = 0
  for (const one of cases('mlkem-768-decaps')) {
    const open = async () => {
      const kem = new MlKem768()
      const [, own] = await kem.deriveKeyPair(bytes(one, 'seed'))
      return kem.decap(bytes(one, 'c'), own)
    }
    if (one.result === 'valid') {
      assert.deepEqual(Uint8Array.from(await open()), bytes(one, 'K'), `${one.id}`)
      opened += 1
    } else {
      await assert.rejects(open, `${one.id}`)
    }
  }
  assert.equal(opened, 153)
})

test('ML-KEM-768: public keys', () => {
  for (const one of cases('mlkem-768-encaps')) {
    assert.equal(isPublic(concat(bytes(one, 'ek'), anyPublic.subarray(1184))), one.result === 'valid', `${one.id}`)
  }
})
