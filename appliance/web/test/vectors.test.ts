// Runs every file of tests/vectors that the client's end covers.

import assert from 'node:assert/strict'
import test from 'node:test'

import { files, read } from './form.ts'
import { RUNNERS, outcome } from './runners.ts'

/** The silo's end: a client has no transport key. That it can seal one is in peers.test.ts and tests/web. */
const SILO_ALONE = new Set(['request'])

const names = files()
const told = new Map<string, number>()

for (const name of names) {
  const v = read(name)
  const what = v.text('what')
  if (SILO_ALONE.has(what)) continue
  told.set(what, (told.get(what) ?? 0) + 1)
  test(name, async () => {
    const { verdict, released, shown } = await outcome(v)
    assert.equal(verdict, v.text('expect'))
    for (const [key, found] of Object.entries(shown)) {
      if (v.has(key)) assert.deepEqual(v.texts(key), found, key)
    }
    if (v.has('released')) assert.equal(released, v.text('released'))
    if (verdict === 'success') {
      const idle = [...v.fields.keys()].filter((key) => !v.used.has(key))
      assert.deepEqual(idle, [], 'a field that nobody looked at')
    }
  })
}

test('every structure of the client has files, and all files were looked at', (t) => {
  assert.deepEqual([...told.keys()].sort(), Object.keys(RUNNERS).sort())
  const ran = [...told.values()].reduce((sum, one) => sum + one, 0)
  const others = names.filter((name) => SILO_ALONE.has(read(name).text('what'))).length
  assert.equal(ran + others, names.length)
  assert.ok(ran >= 500)
  t.diagnostic(`${ran} vector files ran, ${others} are the silo's alone`)
})
