// JSON read strictly, then as exactly one shape (SPEC 2.3). JSON.parse takes a key twice, forgets how a number was
// spelled and keeps lone surrogates, so it is not used to read.

import { SiloError, refused } from '../errors.ts'
import type { Bytes } from './bytes.ts'
import { unb32, unb64, unutf8, utf8 } from './encoding.ts'

/** A JSON value. Objects are maps: no key of theirs means anything to JavaScript. */
export type Json = null | boolean | number | Fraction | string | readonly Json[] | ReadonlyMap<string, Json>

/** A number that was spelled with a fraction or an exponent: it never stands where a whole number belongs. */
export class Fraction {
  readonly value: number

  constructor(value: number) {
    this.value = value
  }
}

/** How many objects and lists may stand inside one another: a reader that calls itself must not run out of stack. */
const DEEPEST = 64

const ESCAPES: Readonly<Record<string, string>> = {
  '"': '"',
  '\\': '\\',
  '/': '/',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
}

class Parser {
  readonly #text: string
  #at = 0

  constructor(text: string) {
    this.#text = text
  }

  whole(): Json {
    const value = this.#value(0)
    this.#space()
    if (this.#at !== this.#text.length) {
      throw refused('a text after the value')
    }
    return value
  }

  #space(): void {
    this.#match(/[ \t\n\r]*/y)
  }

  #match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#at
    const found = pattern.exec(this.#text)?.[0]
    this.#at += found?.length ?? 0
    return found
  }

  #take(word: string): boolean {
    const there = this.#text.startsWith(word, this.#at)
    this.#at += there ? word.length : 0
    return there
  }

  #value(depth: number): Json {
    this.#space()
    if (this.#take('{')) return this.#object(depth + 1)
    if (this.#take('[')) return this.#array(depth + 1)
    if (this.#take('"')) return this.#string()
    if (this.#take('null')) return null
    if (this.#take('true')) return true
    if (this.#take('false')) return false
    return this.#number()
  }

  #object(depth: number): Json {
    if (depth > DEEPEST) throw refused('too deep')
    const out = new Map<string, Json>()
    this.#space()
    if (this.#take('}')) return out
    do {
      this.#space()
      if (!this.#take('"')) throw refused('not JSON')
      const key = this.#string()
      if (out.has(key)) throw refused('a key stands twice')
      this.#space()
      if (!this.#take(':')) throw refused('not JSON')
      out.set(key, this.#value(depth))
      this.#space()
    } while (this.#take(','))
    if (!this.#take('}')) throw refused('not JSON')
    return out
  }

  #array(depth: number): Json {
    if (depth > DEEPEST) throw refused('too deep')
    const out: Json[] = []
    this.#space()
    if (this.#take(']')) return out
    do {
      out.push(this.#value(depth))
      this.#space()
    } while (this.#take(','))
    if (!this.#take(']')) throw refused('not JSON')
    return out
  }

  #string(): string {
    let out = ''
    for (;;) {
      out += this.#match(/[^"\\\u0000-\u001f]*/y) ?? ''
      if (this.#take('"')) break
      if (!this.#take('\\')) throw refused('not JSON')
      const hex = this.#match(/u[0-9a-fA-F]{4}/y)
      const letter = hex ? String.fromCharCode(parseInt(hex.slice(1), 16)) : ESCAPES[this.#match(/["\\/bfnrt]/y) ?? '']
      if (letter === undefined) throw refused('not JSON')
      out += letter
    }
    if (!out.isWellFormed()) throw refused('a lone surrogate')
    return out
  }

  #number(): Json {
    const spelled = this.#match(/-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?/y)
    if (spelled === undefined) throw refused('not JSON')
    const number = Number(spelled)
    if (/^-?[0-9]+$/.test(spelled)) {
      if (!Number.isSafeInteger(number)) throw refused('a whole number is too large')
      return number
    }
    if (!Number.isFinite(number)) throw refused('a number is too large')
    return new Fraction(number)
  }
}

/** One JSON text in UTF-8, read strictly (SPEC 2.3). Refuses all else. */
export function parseJson(data: Uint8Array): Json {
  return new Parser(unutf8(data)).whole()
}

// --- typed readers ---

/** Gives the value if it has its type; else refuses, naming the place and never the value. */
export type Reader<T> = (value: Json, at: string) => T
export type Read<R> = R extends Reader<infer T> ? T : never

function not(at: string): SiloError {
  return refused(`a field is missing or not what it must be, at ${at}`)
}

export const text: Reader<string> = (value, at) => {
  if (typeof value !== 'string') throw not(at)
  return value
}

export const flag: Reader<boolean> = (value, at) => {
  if (typeof value !== 'boolean') throw not(at)
  return value
}

/** A whole number from 0, below 2^53. */
export const count: Reader<number> = (value, at) => {
  if (typeof value !== 'number' || value < 0) throw not(at)
  return value
}

/** Milliseconds since 1970-01-01 UTC. */
export const millis = count

function spelled(decode: (value: string) => Bytes): Reader<string> {
  return (value, at) => {
    try {
      decode(text(value, at))
    } catch {
      throw not(at)
    }
    return value as string
  }
}

/** 16 bytes in base32. */
export const id = spelled((value) => unb32(value, 16))
/** 32 bytes in base32: a hash, a fingerprint, an Ed25519 public key or a secret. */
export const hash = spelled((value) => unb32(value, 32))
/** Bytes in base64url. */
export const blob = spelled(unb64)

/** One of these values. */
export function oneOf<const T extends string | number>(...values: readonly T[]): Reader<T> {
  return (value, at) => {
    const found = values.find((one) => one === value)
    if (found === undefined) throw not(at)
    return found
  }
}

export function nullable<T>(reader: Reader<T>): Reader<T | null> {
  return (value, at) => (value === null ? null : reader(value, at))
}

export function list<T>(reader: Reader<T>): Reader<readonly T[]> {
  return (value, at) => {
    if (!Array.isArray(value)) throw not(at)
    return (value as readonly Json[]).map((one) => reader(one, `${at}[...]`))
  }
}

/** An object with exactly these fields. */
export function object<T extends object>(fields: { readonly [K in keyof T]: Reader<T[K]> }): Reader<T> {
  const readers = Object.entries(fields) as [string, Reader<unknown>][]
  return (value, at) => {
    if (!(value instanceof Map)) throw not(at)
    const map = value as ReadonlyMap<string, Json>
    const read = readers.map(([key, reader]) => {
      const one = map.get(key)
      if (one === undefined) throw not(`${at}.${key}`)
      return [key, reader(one, `${at}.${key}`)]
    })
    if (map.size !== readers.length) throw refused('there is an unknown field')
    return Object.fromEntries(read) as T
  }
}

/** `parseJson`, then exactly what `reader` takes. */
export function readJson<T>(data: Uint8Array, reader: Reader<T>): T {
  return reader(parseJson(data), '$')
}

/** Compact JSON in UTF-8. Signatures cover the bytes as sent, so no order is promised. Refuses a lone surrogate. */
export function writeJson(value: unknown): Bytes {
  const check = (_: string, one: unknown) => (typeof one === 'string' ? (utf8(one), one) : one)
  return utf8(JSON.stringify(value, check))
}
