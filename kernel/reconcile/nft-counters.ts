// What the rules of one table have counted.
import { KernelError } from '../port/error.ts'
import type { NftablesPort, NftRuleCounter, NftTable } from '../port/nftables.ts'

/** Nothing while the kernel cannot be read. */
export async function countersOf(
  kernel: Pick<NftablesPort, 'ruleCounters'>,
  { family, name }: Pick<NftTable, 'family' | 'name'>,
): Promise<readonly NftRuleCounter[]> {
  try {
    return await kernel.ruleCounters({ family, name })
  } catch (error) {
    if (error instanceof KernelError) return []
    throw error
  }
}
