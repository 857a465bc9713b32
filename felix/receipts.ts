// Who waits for what was told to reach the kernel. Times are generations: each change of the input begins a new one, and
// waiters are kept in the order of theirs.
import { ApplyError, type Refusal } from '../kernel/reconcile/outcome.ts'

type Waiter = { generation: number; resolve: () => void; reject: (error: Error) => void }

export class Receipts {
  readonly #whole: Waiter[] = []
  readonly #endpoints: (Waiter & { endpoint: string })[] = []
  readonly #forSync: Waiter[] = []

  /**
   * Answered when all of `generation`, or its part that concerns one endpoint, was applied: rejects with `ApplyError`
   * for what the kernel refused of that.
   */
  receipt(generation: number, endpoint: string | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      if (endpoint === undefined) this.#whole.push({ generation, resolve, reject })
      else this.#endpoints.push({ generation, endpoint, resolve, reject })
    })
  }

  /** Resolves when all of `generation` was applied and nothing is refused. */
  sync(generation: number): Promise<void> {
    return new Promise((resolve, reject) => this.#forSync.push({ generation, resolve, reject }))
  }

  /** All of `generation` was applied, except what was refused. */
  answer(generation: number, refused: readonly Refusal[]): void {
    for (const waiter of due(this.#whole, generation)) answer(waiter, refused)
    if (refused.length === 0) for (const { resolve } of due(this.#forSync, generation)) resolve()
  }

  /** What `generation` holds of endpoints was applied, except what `refusedOf` tells of one. */
  answerEndpoints(generation: number, refusedOf: (endpoint: string) => readonly Refusal[]): void {
    for (const waiter of due(this.#endpoints, generation)) answer(waiter, refusedOf(waiter.endpoint))
  }

  /** Nothing will be applied any more. */
  close(): void {
    const waiters = [...this.#whole.splice(0), ...this.#endpoints.splice(0), ...this.#forSync.splice(0)]
    for (const { reject } of waiters) reject(new Error('felix is closed'))
  }
}

/** Takes out those that waited for this generation or an earlier one. */
function due<W extends Waiter>(waiters: W[], generation: number): W[] {
  const later = waiters.findIndex(waiter => waiter.generation > generation)
  return waiters.splice(0, later < 0 ? waiters.length : later)
}

function answer({ resolve, reject }: Waiter, refused: readonly Refusal[]): void {
  if (refused.length === 0) resolve()
  else reject(new ApplyError(refused))
}
