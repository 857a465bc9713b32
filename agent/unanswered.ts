// Of a look-up of a route: whether the kernel said that no way leads there, or did not answer.
import { KernelError } from '../kernel/port/error.ts'

/** The answer was lost, or the kernel had no memory, or nobody waits for it any more. */
const UNANSWERED: readonly string[] = ['ENOBUFS', 'ENOMEM', 'ECANCELED']

/** Whether an error is no answer about the address that was looked up: what was known before is still the best there is. */
export function isUnanswered(error: unknown): boolean {
  return !(error instanceof KernelError) || UNANSWERED.includes(error.code)
}
