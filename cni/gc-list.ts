// The list of a runtime's GC was made before it was called: what an ADD made since is not in it.
import type { Clock } from '../lib/clock.ts'

/** How old the list may be. An ADD alone may take 20 s. */
const LIST_AGE_MS = 60_000

/** Whether something may have been made after the list of a GC that arrived at `arrivedMs`. Both are milliseconds since the epoch. */
export function isYoung(
  { createdMs }: { createdMs: number },
  arrivedMs: number,
  { clock }: { clock: Pick<Clock, 'wallMs'> },
): boolean {
  // one of the future: the clock was set back since
  return createdMs > arrivedMs - LIST_AGE_MS && createdMs < clock.wallMs() + LIST_AGE_MS
}
