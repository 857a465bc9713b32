// All metrics of one agent, as a scraper reads them.
import { packageVersion } from '../../lib/package-files.ts'
import { processText } from '../../lib/process-metrics.ts'
import { metricsText, type NodeNumbers } from './metrics.ts'

/** Who knows the numbers. */
export type Measured = {
  numbers(): Omit<NodeNumbers, 'dropped' | 'version'>
  droppedPackets(): Promise<ReadonlyMap<string, number>>
}

/** `ofProcess`: whether what the system knows of the process is told too. */
export async function metricsPage(agent: Measured, { ofProcess }: { ofProcess: boolean }): Promise<string> {
  const text = metricsText({ ...agent.numbers(), version: packageVersion(), dropped: await agent.droppedPackets() })
  return ofProcess ? text + processText() : text
}
