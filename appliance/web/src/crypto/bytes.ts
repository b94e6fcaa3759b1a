// What Python's bytes can do and JavaScript's arrays cannot.

/** Bytes in memory that WebCrypto takes: not shared between threads. */
export type Bytes = Uint8Array<ArrayBuffer>

/** All of them, one after the other. */
export function concat(...parts: readonly Uint8Array[]): Bytes {
  const out = new Uint8Array(parts.reduce((size, part) => size + part.length, 0))
  let at = 0
  for (const part of parts) {
    out.set(part, at)
    at += part.length
  }
  return out
}

/** Compares in a time that depends on the lengths alone. */
export function same(one: Uint8Array, other: Uint8Array): boolean {
  let differs = one.length ^ other.length
  for (let at = 0; at < one.length; at++) {
    differs |= (one[at] ?? 0) ^ (other[at] ?? 0)
  }
  return differs === 0
}

/** `size` zeros. */
export function zeros(size: number): Bytes {
  return new Uint8Array(size)
}

/** Whether there is anything but zeros. */
export function any(data: Uint8Array): boolean {
  return data.some((byte) => byte !== 0)
}

/** Fresh random bytes. */
export function random(size: number): Bytes {
  return crypto.getRandomValues(new Uint8Array(size))
}

/** 4 bytes, big-endian. */
export function u32(number: number): Bytes {
  return Uint8Array.of(number >>> 24, number >>> 16, number >>> 8, number)
}

/** 8 bytes, big-endian. */
export function u64(number: number | bigint): Bytes {
  const out = new Uint8Array(8)
  new DataView(out.buffer).setBigUint64(0, BigInt(number))
  return out
}

/** The number in 4 bytes at `at`. */
export function readU32(data: Uint8Array, at = 0): number {
  return new DataView(data.buffer, data.byteOffset, data.byteLength).getUint32(at)
}

/** The number in 8 bytes: a bigint, because it may be beyond what a number holds exactly. */
export function readU64(data: Uint8Array, at = 0): bigint {
  return new DataView(data.buffer, data.byteOffset, data.byteLength).getBigUint64(at)
}
