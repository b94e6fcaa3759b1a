// What can go wrong when bytes are read, by the codes of silo/errors.py. The sentences stand there.

/** The verdicts of SPEC 10, what the door's client and key files say beside them, and `refused`: a building
 * block's no, whose class only the place knows where it stands. */
export const CODES = [
  'no_match',
  'header_failure',
  'payload_failure',
  'truncated',
  'forged',
  'stale',
  'replay',
  'wrong_silo',
  'too_large',
  'bad_reply',
  'bad_key_file',
  'wrong_passphrase',
  'bad_password',
  'refused',
] as const

export type Code = (typeof CODES)[number]

/** One error for all; `detail` names a field or a limit, never content. */
export class SiloError extends Error {
  readonly code: Code
  readonly detail: string

  constructor(code: Code, detail = '') {
    super(detail ? `${code}: ${detail}` : code)
    this.name = 'SiloError'
    this.code = code
    this.detail = detail
  }
}

/** A building block's no. */
export function refused(detail: string): SiloError {
  return new SiloError('refused', detail)
}

/** Runs `work`; what a building block refuses in it becomes `code`. All other errors pass. */
export async function refusedAs<T>(code: Code, work: () => T | Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (error instanceof SiloError && error.code === 'refused') {
      throw new SiloError(code, error.detail)
    }
    throw error
  }
}
