// opening.ts in Node: one JSON object on stdin, one on stdout.

import { type Given, measured } from './opening.ts'

let text = ''
for await (const chunk of process.stdin.setEncoding('utf8')) text += chunk
process.stdout.write(`${JSON.stringify(await measured(JSON.parse(text) as Given))}\n`)
