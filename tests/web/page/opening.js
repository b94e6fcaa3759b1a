// The bench of opening records, in a page.
import { measured } from '/appliance/web/bench/opening.ts'

const given = await (await fetch('/given')).json()
await fetch('/done', { method: 'POST', body: JSON.stringify(await measured(given)) })
