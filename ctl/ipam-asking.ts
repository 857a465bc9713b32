// What the ways of `ipam release` share: what is asked for, what became of it, and whether a Node is there.
import type { Resource } from '../api/kinds.ts'
import { Conflict, NotFound, type Store } from '../datastore/port.ts'

type BlockObject = Resource<'IPAMBlock'>

export type ReleaseOptions = {
  /** Also what its owner may use. */
  force: boolean
  /** How long an owner has to answer. */
  waitMs: number
  /** How long a node that borrowed addresses has to answer that it lives: it looks now and then. */
  borrowerWaitMs: number
}

export type Refusal = { refused: string; remedy: string }

/** What became of one block or address; `refused` is the reason why nothing did, and `remedy` what to do. */
export type Released = { what: string; freed: readonly string[]; refused?: string; remedy?: string }

/** How often a block that waits for an answer is read. */
export const LOOK_MS = 250

const MOST_ATTEMPTS = 5

/** Who asks, and when, for a question in a block. */
export function asker(): string {
  return `margayctl at ${new Date().toISOString()}`
}

/** Rejects as the store, but for what is not there. */
export async function found<T>(reading: Promise<T>): Promise<T | undefined> {
  try {
    return await reading
  } catch (error) {
    if (error instanceof NotFound) return undefined
    throw error
  }
}

export async function hasNode(store: Store, node: string): Promise<boolean> {
  return (await found(store.get('Node', node))) !== undefined
}

/**
 * Writes a block that its owner may write at the same time: `change` is asked again then, and undefined means that nothing is written.
 * Whether it was written. Rejects as the store, but for a block that is gone, or that is written all the time.
 */
export async function changeBlock(
  store: Store,
  name: string,
  change: (now: BlockObject) => Promise<BlockObject | undefined> | BlockObject | undefined,
): Promise<boolean> {
  for (let attempt = 1; ; attempt++)
    try {
      const now = await found(store.get('IPAMBlock', name))
      const changed = now && (await change(now))
      if (changed !== undefined) await store.update('IPAMBlock', changed)
      return changed !== undefined
    } catch (error) {
      if (error instanceof NotFound) return false
      if (!(error instanceof Conflict)) throw error
      if (attempt === MOST_ATTEMPTS) return false
    }
}
