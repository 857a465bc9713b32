// An ADD waits for its turn, and for a block of addresses where none is free.
import {
  type Assigned,
  type AssignRefusal,
  type AssignRequest,
  type AwaitsBlock,
  BLOCK_PATIENCE_MS,
} from '../ipam/port.ts'
import type { CniDeps } from './deps.ts'
import { CNI_CODE, CniError } from './error.ts'
import type { Whom } from './limiter.ts'

/** No address is free until the API server has given this node one more block. */
class BlockNeeded extends Error {
  readonly #block: AwaitsBlock
  constructor(block: AwaitsBlock) {
    super('no address is free')
    this.#block = block
  }

  awaits(deadlineMs: number): Promise<AssignRefusal | undefined> {
    return this.#block.awaits(deadlineMs)
  }
}

/** Of a request: the octets of its configuration, and what resolves when nobody waits for the answer any more. */
export type Caller = { octets: number; gone: Promise<unknown> }

/**
 * `body`, alone for this pod and in its turn (`Limiter`). While it waits for its turn or for a block it holds neither the lock nor
 * a place among the requests that run: DEL and CHECK never wait for that. A DEL of the same `id` ends it then, and so does the end of
 * the plugin.
 */
export async function inTurn<T>(
  { id, whom }: { id: string; whom: Whom },
  { clock, endpoints, limiter }: CniDeps,
  { octets, gone }: Caller,
  body: () => Promise<T>,
): Promise<T> {
  const deadline = clock.monotonicMs() + BLOCK_PATIENCE_MS
  using admission = limiter.admit(octets)
  using del = endpoints.untilAbandoned(id)
  const abandoned = Promise.race([del.promise.then(() => OVERTAKEN), gone.then(() => GIVEN_UP)])
  const ends = Promise.race([admission.late, abandoned.then(refusalError)])
  for (;;)
    try {
      return await limiter.runAdd(whom, admission, ends, body)
    } catch (error) {
      if (!(error instanceof BlockNeeded)) throw error
      const refusal = await Promise.race([error.awaits(deadline), abandoned])
      if (refusal !== undefined) throw refusalError(refusal)
    }
}

const OVERTAKEN: AssignRefusal = {
  refused: 'unreachable',
  message: 'DEL came while this ADD was waiting for its turn or for a block of addresses',
  remedy: 'nothing was made; the runtime calls ADD again when it wants the interface',
}

const GIVEN_UP: AssignRefusal = { ...OVERTAKEN, message: 'the plugin ended while this ADD was waiting' }

/** Addresses, written with what `within` writes. For the body of `inTurn`, which waits where a block is needed. Throws `CniError`. */
export function assignOrWait(
  { ipam }: Pick<CniDeps, 'ipam'>,
  request: AssignRequest,
  within?: (assigned: readonly Assigned[]) => void,
): readonly Assigned[] {
  const assigned = ipam.assignNow(request, within)
  if ('awaits' in assigned) throw new BlockNeeded(assigned)
  if ('refused' in assigned) throw refusalError(assigned)
  return assigned
}

function refusalError({ refused, message, remedy }: AssignRefusal): CniError {
  return new CniError(refused === 'unreachable' ? CNI_CODE.tryLater : CNI_CODE.noAddress, message, remedy)
}
