// All metrics of one agent, as a scraper reads them.
import type { RuleCounts } from '../../felix/rule-counts.ts'
import { packageVersion } from '../../lib/package-files.ts'
import { processText } from '../../lib/process-metrics.ts'
import { metricsText, type NodeNumbers } from './metrics.ts'

/** Who knows the numbers. */
export type Measured = {
  numbers(): Omit<NodeNumbers, 'dropped' | 'decided' | 'version'>
  droppedPackets(): Promise<ReadonlyMap<string, number>>
  /** What each rule of policies has counted. */
  ruleCounts(): Promise<Pick<RuleCounts, 'byText' | 'byOutcome'>>
}

/** `ofProcess`: whether what the system knows of the process is told too. */
export async function metricsPage(agent: Measured, { ofProcess }: { ofProcess: boolean }): Promise<string> {
  const [dropped, counts] = [await agent.droppedPackets(), await agent.ruleCounts()]
  const text = metricsText({ ...agent.numbers(), version: packageVersion(), dropped, decided: counts.byOutcome() })
  return ofProcess ? text + processText() : text
}
