// Files and hashes, which the runners ask Node for and a page asks the test's server for.
const ask = (method, path, body) => {
  const request = new XMLHttpRequest()
  request.open(method, path, false)
  request.send(body)
  if (request.status !== 200) throw new Error(`${path}: ${request.status}`)
  return request.responseText
}
export const readFileSync = (url) => ask('GET', new URL(url).pathname)
export const readdirSync = (url) => JSON.parse(ask('GET', `${new URL(url).pathname}?list`))
export const createHash = (name, { outputLength = 32 } = {}) => {
  let data
  const hash = {
    update: (given) => ((data = given), hash),
    digest: (form) => {
      const hex = ask('POST', `/hash/${name}/${outputLength}`, data)
      return form === 'hex' ? hex : Uint8Array.from(hex.match(/../g), (pair) => parseInt(pair, 16))
    },
  }
  return hash
}
