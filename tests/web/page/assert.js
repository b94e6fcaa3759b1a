// What the runners want of Node's assert.
const same = (one, other) => JSON.stringify(one) === JSON.stringify(other)
const check = (holds, said) => {
  if (!holds) throw new Error(said ?? 'an assertion failed')
}
export default {
  ok: check,
  equal: (found, wanted, said) => check(Object.is(found, wanted), said ?? `${found} is not ${wanted}`),
  deepEqual: (found, wanted, said) => check(same(found, wanted), said ?? `${JSON.stringify(found)}`),
  throws: (work, wanted) => {
    try {
      work()
    } catch (error) {
      return check(error.code === wanted.code, `${error.code} is not ${wanted.code}`)
    }
    throw new Error('nothing was thrown')
  },
}
