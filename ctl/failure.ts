// How a command ends: the four exit codes, and the one place that turns an error into words with a remedy.
import { Conflict, NotFound, Refused, Unreachable } from '../datastore/port.ts'

export const EXIT = { fine: 0, no: 1, usage: 2, unreachable: 3 } as const

export type ExitCode = (typeof EXIT)[keyof typeof EXIT]

/** The command line or an input file is wrong; the message says how to put it right. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}

/** Nobody answers where a command had to ask; the message says where, why, and what to do. */
export class NoAnswer extends Error {
  override readonly name = 'NoAnswer'
  /** Nobody is there to answer, as far as this machine's kernel says; else somebody may be, who is slow or out of reach. */
  readonly isAway: boolean

  constructor(message: string, { isAway = false }: { isAway?: boolean } = {}) {
    super(message)
    this.isAway = isAway
  }
}

/** A program that was asked understood and says no; the message is its own. */
export class Denied extends Error {
  override readonly name = 'Denied'
}

export type Failure = { code: ExitCode; message: string }

/** Names the object, the cause and the remedy. Errors of no known class are bugs and are thrown on. */
export function failureOf(error: unknown, object?: string): Failure {
  const about = (text: string, remedy: string): string =>
    `${object === undefined ? '' : `${object}: `}${text}. ${remedy}`
  if (error instanceof UsageError) return { code: EXIT.usage, message: error.message }
  if (error instanceof NoAnswer) return { code: EXIT.unreachable, message: error.message }
  if (error instanceof Denied) return { code: EXIT.no, message: error.message }
  if (error instanceof NotFound)
    return { code: EXIT.no, message: about(error.message, "List what there is with 'margayctl get KIND'.") }
  if (error instanceof Conflict)
    return { code: EXIT.no, message: about(error.message, 'Read it again, then apply or replace it.') }
  if (error instanceof Refused && (error.status === 401 || error.status === 403))
    return { code: EXIT.no, message: about(error.message, 'Check the token or the kubeconfig.') }
  if (error instanceof Refused) return { code: EXIT.no, message: about(error.message, 'Correct the named fields.') }
  if (error instanceof Unreachable)
    return {
      code: EXIT.unreachable,
      message: about(error.message, 'Check --server or --kubeconfig, and that it runs.'),
    }
  throw error
}

/** The worst of several ends: out of reach before wrong usage before no before fine. */
export function worst(codes: readonly ExitCode[]): ExitCode {
  return codes.toSorted((a, b) => a - b).at(-1) ?? EXIT.fine
}
