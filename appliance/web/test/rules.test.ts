// Rules for the sources that no compiler checks.

import assert from 'node:assert/strict'
import { readFileSync, readdirSync } from 'node:fs'
import test from 'node:test'

import { CODES } from '../src/errors.ts'
import * as labels from '../src/crypto/labels.ts'

const ROOT = new URL('../../../', import.meta.url)
const SRC = new URL('../src/', import.meta.url)

function sources(): [string, string][] {
  const names = readdirSync(SRC, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'))
  return names.map((name) => [name, readFileSync(new URL(name, SRC), 'utf8')])
}

function python(path: string): string {
  return readFileSync(new URL(path, ROOT), 'utf8')
}

test('no source derives an X-Wing key from a text: the seed is the key (SPEC 2.4)', () => {
  for (const [name, text] of sources()) assert.doesNotMatch(text, /deriveKeyPair/, name)
})

test('no source needs Node: what it imports is a file or a package of the page', () => {
  const { dependencies } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'))
  for (const [name, text] of sources()) {
    for (const [, from] of text.matchAll(/from '([^']+)'/g)) {
      assert.ok(/^\.{1,2}\/.*\.ts$/.test(from!) || from! in dependencies, `${name} imports ${from}`)
    }
  }
})

test('JSON is read by json.ts alone', () => {
  for (const [name, text] of sources()) {
    if (!name.endsWith('json.ts')) assert.doesNotMatch(text, /JSON\.parse/, name)
  }
})

test('labels are those of silo/crypto/labels.py', () => {
  const told = [...python('silo/crypto/labels.py').matchAll(/^([A-Z_]+) = "(securesilo.*)"$/gm)].map(([, key, value]) => [key, value])
  const ours = Object.entries(labels).filter(([, value]) => typeof value === 'string')
  assert.ok(told.length > 30)
  assert.deepEqual(Object.fromEntries(ours), Object.fromEntries(told))
})

test('what Unicode 14.0 assigns is the list of silo/crypto/assigned.py', () => {
  const ours = readFileSync(new URL('crypto/assigned.ts', SRC), 'utf8')
  const lists = [python('silo/crypto/assigned.py'), ours].map((text) => /RUNS = \W+\n([0-9a-z \n]+)/.exec(text)?.[1])
  assert.ok(lists[0]!.length > 3000)
  assert.equal(lists[1], lists[0])
})

test('codes are those of silo/errors.py', () => {
  const told = new Set([...python('silo/errors.py').matchAll(/^ {4}"([a-z_]+)": Row\(/gm)].map(([, code]) => code))
  for (const code of CODES) assert.ok(code === 'refused' || told.has(code), code)
})
