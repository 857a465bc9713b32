// What a soak runs on: the lab or a real Kubernetes.
import { setTimeout as pause } from 'node:timers/promises'
import type { Start } from './ledger.ts'

/** What may be killed while pods come and go. */
export const VICTIMS = ['agent', 'controllers', 'api'] as const
export type Victim = (typeof VICTIMS)[number]

/** Numbers in [0, 1) that follow from the seed. */
export type Random = () => number

export type Leak = { kind: (typeof LEAKS)[number]; what: string }
export const LEAKS = ['addresses', 'veths', 'routes', 'rows', 'blocks', 'rules', 'objects'] as const

export type World = AsyncDisposable & {
  readonly nodes: readonly string[]
  /** What is measured where, in a few words for the table. */
  readonly about: string
  /** How often an ADD was refused and repeated, since what it needs was killed; undefined where a kubelet does that. */
  readonly refused: number | undefined
  /** Starts one pod as a runtime does, and again when that is refused; rejects when it does not run in `START_LIMIT_MS`. */
  start(node: string, random: Random): Promise<Start>
  end(start: Start): Promise<void>
  /** Kills with SIGKILL and starts again after a moment; resolves when it works again, with what it was and how long it was away. */
  strike(victim: Victim, random: Random): Promise<string>
  /** Kills every agent, and resolves when each is ready again: a start publishes at once what is not published. */
  restartAgents(): Promise<void>
  /** Resolves when nothing is under way any more of pods that were ended. */
  settled(): Promise<void>
  /** What is there beyond what was there before the first start. `given`: addresses that pods had. */
  leaks(given: ReadonlySet<string>): Promise<Leak[]>
  /** What agents told of paths between nodes that were lost, or translated, since the start: none was. Undefined where it is not asked. */
  alarms(): Promise<string[] | undefined>
  /** Resident MiB of each node's agent. */
  memory(): Promise<ReadonlyMap<string, number>>
}

/** How long a runtime, a kubelet or a client waits until it repeats what was refused. */
export const PAUSE_MS = 200

/** A pod that does not run for so long is lost too. */
export const START_LIMIT_MS = 180_000

/**
 * Work that what was killed has its part in: again every `PAUSE_MS` until it is done. Rejects as the work once that has taken
 * `limitMs`, and at once with what is no sign of that (`isAway`; all is when absent).
 */
export async function whileAway<T>(
  work: () => Promise<T>,
  limitMs: number,
  isAway: (error: unknown) => boolean = () => true,
): Promise<T> {
  const end = performance.now() + limitMs
  for (;;) {
    try {
      return await work()
    } catch (error) {
      if (!isAway(error) || performance.now() > end) throw error
      await pause(PAUSE_MS)
    }
  }
}

/** A random element. */
export function pick<T>(items: readonly T[], random: Random): T {
  const item = items[Math.floor(random() * items.length)]
  if (item === undefined) throw new Error('nothing to pick from')
  return item
}
