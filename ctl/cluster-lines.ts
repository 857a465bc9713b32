// What the agents of several nodes tell in lines of JSON, listed or followed: a hidden command of margayctl runs at each (agents.ts). Each
// node that was not asked is named, and the exit code is then 1, since a list with a hole would look whole.
import type { PodRun } from '../datastore/exec.ts'
import { isStoreError } from '../datastore/port.ts'
import { type Clock, keepProcess } from '../lib/clock.ts'
import type { AgentPod, Agents } from './agents.ts'
import type { Context } from './command.ts'
import { inTurns } from './each.ts'
import { Denied, EXIT, type ExitCode, UsageError } from './failure.ts'
import { visible } from './visible.ts'

/** How nodes are asked in one run of a command. `read`: what a line is; undefined where it is nothing that is known here. */
export type Asking<L> = { agents: Agents; words: readonly string[]; read: (text: string) => L | undefined }

/** Nodes that one program follows. */
const MOST_FOLLOWED = 256
/** While nodes are followed pods are listed so often, for new nodes and agents that started again. */
const LIST_AGAIN_MS = 30_000

/** Asks all nodes; `take` gets each line, and `told` each node that told everything. Rejects with UsageError for a node without an agent. */
export async function listNodes<L>(
  { agents, words, read }: Asking<L>,
  context: Context,
  { take, told }: { take: (line: L, node: string) => void; told: (node: string) => void },
): Promise<ExitCode> {
  let code: ExitCode = EXIT.fine
  await inTurns(await agents.pods(), async pod => {
    try {
      await agents.all(pod, words, text => {
        const line = read(text)
        if (line !== undefined) take(line, pod.node)
      })
      told(pod.node)
    } catch (error) {
      context.err(`node ${visible(pod.node)} is not asked: ${(error as Error).message}\n`)
      code = EXIT.no
    }
  })
  return code
}

/** Who hears of nodes that are followed. */
export type Following<L> = {
  take(line: L, node: string): void
  /** The nodes that are asked at first, and each that tells nothing more for now. */
  begins?(nodes: readonly string[]): void
  ends?(node: string): void
  /** Nobody is followed any more. */
  end(): void
}

/** Follows all nodes. Ends when it is interrupted, or at once where not one node can be followed. */
export async function followNodes<L>(
  { agents, words, read }: Asking<L>,
  following: Following<L>,
  context: Context,
  clock: Clock,
): Promise<ExitCode> {
  const [runs, told] = [new Map<string, PodRun>(), new Map<string, string>()]
  let isOver = false
  const over = context.interrupted().then(() => {
    isOver = true
  })
  const fails = (node: string, error: Error): void => {
    if (!isOver && told.get(node) !== error.message)
      context.err(`node ${visible(node)} is not followed: ${error.message}\n`)
    told.set(node, error.message)
    following.ends?.(node)
  }
  const start = async (pod: AgentPod): Promise<void> => {
    const { node } = pod
    if (isOver) return
    try {
      if (runs.size >= MOST_FOLLOWED)
        throw new Error(`${MOST_FOLLOWED} nodes are followed at the most: name those that matter`)
      const run = await agents.begin(pod, words, text => {
        const line = read(text)
        if (line !== undefined && !isOver) following.take(line, node)
      })
      if (isOver) return run.close()
      runs.set(node, run)
      told.delete(node)
      void run.ended.then(why => {
        run.close()
        runs.delete(node)
        fails(node, new Error(why ?? 'it ended'))
      })
    } catch (error) {
      fails(node, error as Error)
    }
  }
  let isFirst = true
  const look = async (): Promise<void> => {
    const pods = await agents.pods()
    for (const node of told.keys()) if (!pods.some(pod => pod.node === node)) told.delete(node)
    if (isFirst) following.begins?.(pods.map(({ node }) => node))
    isFirst = false
    await inTurns(
      pods.filter(({ node }) => !runs.has(node)),
      start,
    )
  }
  const letGo = keepProcess()
  try {
    await Promise.race([look(), over])
    if (!isOver && runs.size === 0) return EXIT.no
    while (!isOver) {
      const { promise, resolve } = Promise.withResolvers<void>()
      const cancel = clock.after(LIST_AGAIN_MS, resolve)
      await Promise.race([promise, over])
      cancel()
      if (!isOver) await Promise.race([look().catch(error => notListed(error, context)), over])
    }
    return told.size === 0 ? EXIT.fine : EXIT.no
  } finally {
    isOver = true
    letGo()
    following.end()
    for (const run of runs.values()) run.close()
  }
}

/** What is followed goes on without a new list. Rejects for a fault of this program. */
function notListed(error: unknown, context: Context): void {
  if (!isStoreError(error) && !(error instanceof Denied) && !(error instanceof UsageError)) throw error
  context.err(`new nodes are not known: ${error.message}. It is tried again.\n`)
}
