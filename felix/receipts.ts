// Who waits for what was told to reach the kernel. Times are generations: each change of the input begins a new one, and
// waiters are kept in the order of theirs.
import { ApplyError, type Refusal } from '../kernel/reconcile/table.ts'

type Waiter = { generation: number; resolve: () => void; reject: (error: Error) => void }
type Receipt = Waiter & { endpoint: string | undefined }

export class Receipts {
  readonly #receipts: Receipt[] = []
  readonly #forSync: Waiter[] = []

  /** Answered by the first pass that took in `generation`: rejects with `ApplyError` for what that pass was refused. */
  receipt(generation: number, endpoint: string | undefined): Promise<void> {
    return new Promise((resolve, reject) => this.#receipts.push({ generation, endpoint, resolve, reject }))
  }

  /** Resolves after the first pass that took in `generation` and was refused nothing. */
  sync(generation: number): Promise<void> {
    return new Promise((resolve, reject) => this.#forSync.push({ generation, resolve, reject }))
  }

  /** A pass took in `generation`. `refusedOf` tells what concerns one endpoint. */
  answer(generation: number, refused: readonly Refusal[], refusedOf: (endpoint: string) => readonly Refusal[]): void {
    for (const { endpoint, resolve, reject } of due(this.#receipts, generation)) {
      const mine = endpoint === undefined ? refused : refusedOf(endpoint)
      if (mine.length === 0) resolve()
      else reject(new ApplyError(mine))
    }
    if (refused.length === 0) for (const { resolve } of due(this.#forSync, generation)) resolve()
  }

  /** Nothing will be applied any more. */
  close(): void {
    const waiters = [...this.#receipts.splice(0), ...this.#forSync.splice(0)]
    for (const { reject } of waiters) reject(new Error('felix is closed'))
  }
}

/** Takes out those that waited for this generation or an earlier one. */
function due<W extends Waiter>(waiters: W[], generation: number): W[] {
  const later = waiters.findIndex(waiter => waiter.generation > generation)
  return waiters.splice(0, later < 0 ? waiters.length : later)
}
