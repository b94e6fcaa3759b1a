// Runs the vector files of the client's end, as appliance/web/test/vectors.test.ts does in Node.
import { files, read } from '/appliance/web/test/form.ts'
import { outcome } from '/appliance/web/test/runners.ts'

const failed = []
let ran = 0
for (const name of files()) {
  const v = read(name)
  if (v.text('what') === 'request') continue
  ran += 1
  try {
    const { verdict, released, shown } = await outcome(v)
    const differs = [
      verdict !== v.text('expect'),
      v.has('released') && released !== v.text('released'),
      ...Object.entries(shown).map(([key, found]) => v.has(key) && String(v.texts(key)) !== String(found)),
    ]
    if (differs.some(Boolean)) failed.push(`${name}: ${verdict}`)
  } catch (error) {
    failed.push(`${name}: ${error}`)
  }
}
await fetch('/done', { method: 'POST', body: JSON.stringify({ ran, failed }) })
