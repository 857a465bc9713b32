// The base chains of other programs that a packet of a question meets: their names alone. Whether one of them drops it is seen by a
// packet that is traced, and never read from its rules.
import type { HookFacts } from '../../api/explain.ts'
import { TUNNEL_DEVICES } from '../../felix/calc/tunnels.ts'
import type { Kernel } from '../../kernel/port/kernel.ts'
import type { NftHook } from '../../kernel/port/nftables.ts'
import type { Crossing } from './crossing.ts'

/** Chains that are told. */
const MOST = 64

export async function hooksOf(
  kernel: Pick<Kernel, 'baseChains' | 'legacyBaseChains'>,
  crossings: readonly Crossing[],
  isOwn: (table: string) => boolean,
): Promise<HookFacts[]> {
  const met = new Set(crossings.flatMap(hooksMet))
  if (met.size === 0) return []
  return [...(await kernel.baseChains()), ...(await kernel.legacyBaseChains())]
    .flatMap(({ family, table, name: chain, base }) => {
      if (base === undefined || !met.has(base.hook) || isOwn(table)) return []
      const { hook, priority, policy = 'accept' } = base
      return [{ family, table, chain, hook, priority, policy }]
    })
    .slice(0, MOST)
}

/** Also by the outer packet of a tunnel, which the host sends and receives itself. */
function hooksMet({ from, leavesBy, endsHere }: Crossing): NftHook[] {
  const outer = leavesBy !== undefined && TUNNEL_DEVICES.has(leavesBy)
  return [
    ...(from === 'host' || outer ? (['output'] as const) : []),
    ...(from === 'host' ? [] : (['prerouting'] as const)),
    ...(from !== 'host' && leavesBy !== undefined ? (['forward'] as const) : []),
    ...(endsHere || from === 'tunnel' ? (['input'] as const) : []),
    ...(leavesBy === undefined ? [] : (['postrouting'] as const)),
  ]
}
