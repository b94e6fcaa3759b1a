// How a vector file is spelled (tests/vectors/README.md).

import { readFileSync, readdirSync } from 'node:fs'

import type { Bytes } from '../src/crypto/bytes.ts'
import { b64, unb64 } from '../src/crypto/encoding.ts'

export const FOLDER = new URL('../../../tests/vectors/', import.meta.url)

export type Value = Bytes | string | number | bigint

/** One file: keys in their order, each with one value or more. */
export class Vector {
  readonly name: string
  readonly fields = new Map<string, string[]>()
  /** The keys that somebody has asked for: a test sees to it that none is idle. */
  readonly used = new Set(['what', 'expect', 'comment'])

  constructor(name: string, text: string) {
    this.name = name
    let key = ''
    for (const line of text.split('\n').slice(0, -1)) {
      if (line.startsWith(' ') && key) {
        const values = this.fields.get(key)!
        values[values.length - 1] += line.slice(1)
        continue
      }
      const colon = line.indexOf(':')
      if (colon < 1) throw new Error(`${name}: not a line of a vector file: ${line.slice(0, 40)}`)
      key = line.slice(0, colon)
      this.fields.set(key, [...(this.fields.get(key) ?? []), line.slice(colon + 1).replace(/^ /, '')])
    }
  }

  has(key: string): boolean {
    return this.fields.has(key)
  }

  /** The values of a key that may stand any number of times, in order. */
  texts(key: string): string[] {
    this.used.add(key)
    return this.fields.get(key) ?? []
  }

  /** The one value of a key. */
  text(key: string): string {
    const [value, ...more] = this.texts(key)
    if (value === undefined || more.length) throw new Error(`${this.name}: not exactly one ${key}`)
    return value
  }

  number(key: string): number {
    return Number(this.text(key))
  }

  /** A text spelled as a JSON string, because it may hold anything: a lone surrogate too. */
  string(key: string): string {
    return JSON.parse(this.text(key)) as string
  }

  data(key: string): Bytes {
    return unb64(this.text(key))
  }

  datas(key: string): Bytes[] {
    return this.texts(key).map(unb64)
  }

  tuples(key: string): Bytes[][] {
    return this.texts(key).map((value) => value.split(' ').map(unb64))
  }
}

/** A value as it stands in a file. */
export function spell(value: Value): string {
  return value instanceof Uint8Array ? b64(value) : String(value)
}

export function files(): string[] {
  const found = readdirSync(FOLDER).filter((file) => file.endsWith('.txt'))
  return found.map((file) => file.slice(0, -4)).sort()
}

export function read(name: string): Vector {
  return new Vector(name, readFileSync(new URL(`${name}.txt`, FOLDER), 'utf8'))
}
