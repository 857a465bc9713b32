// All metrics of one agent, as a scraper reads them.
import type { RuleCounts } from '../../felix/rule-counts.ts'
import { KernelError } from '../../kernel/port/error.ts'
import { packageVersion } from '../../lib/package-files.ts'
import { processText } from '../../lib/process-metrics.ts'
import { metricsText, type NodeNumbers } from './metrics.ts'

/** Who knows the numbers. */
export type Measured = {
  numbers(): Omit<NodeNumbers, 'dropped' | 'decided' | 'version'>
  droppedPackets(): Promise<ReadonlyMap<string, number>>
  /** What each rule of policies has counted; `late`: not long ago. */
  ruleCounts(of: 'now' | 'late'): Promise<Pick<RuleCounts, 'byText' | 'byOutcome'>>
}

/** `ofProcess`: whether what the system knows of the process is told too. */
export async function metricsPage(agent: Measured, { ofProcess }: { ofProcess: boolean }): Promise<string> {
  const [dropped, decided] = [await agent.droppedPackets(), await decidedPackets(agent)]
  const text = metricsText({ ...agent.numbers(), version: packageVersion(), dropped, decided })
  return ofProcess ? text + processText() : text
}

/** None where the kernel does not tell them now: all else is told all the same. */
async function decidedPackets(agent: Measured): Promise<ReadonlyMap<string, number>> {
  try {
    return (await agent.ruleCounts('late')).byOutcome()
  } catch (error) {
    if (error instanceof KernelError) return new Map()
    throw error
  }
}
