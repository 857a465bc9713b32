// The connections that pods of this node have open, as policies see them: for `margayctl explain --policy`, which judges them by
// policies that are not applied yet.
import type { OpenConnection } from '../api/connection-answer.ts'
import type { Flow } from '../kernel/port/conntrack.ts'
import type { Kernel } from '../kernel/port/kernel.ts'

/** Different ones; a node may track a million. */
const MOST_CONNECTIONS = 10_000

/**
 * Those of these addresses: each different one once, without the port that its client chose, the first that are found. Behind the
 * translation of their destination, as rules see them. Rejects with `KernelError`.
 */
export async function openConnections(
  kernel: Pick<Kernel, 'flowsOf'>,
  addresses: ReadonlySet<string>,
): Promise<OpenConnection[]> {
  const found = new Map<string, OpenConnection>()
  if (addresses.size === 0) return []
  await kernel.flowsOf(addresses, flow => {
    const connection = connectionOf(flow)
    const key = JSON.stringify(connection)
    const known = found.get(key)
    if (known !== undefined) known.count++
    else if (found.size < MOST_CONNECTIONS) found.set(key, { ...connection, count: 1 })
  })
  return [...found.values()]
}

function connectionOf({ original, reply }: Flow): Omit<OpenConnection, 'count'> {
  const { source, protocol, icmp } = original
  return {
    ...{ source, destination: reply.source, protocol },
    ...(reply.ports !== undefined && { destinationPort: reply.ports.source }),
    ...(icmp !== undefined && { icmp: { type: icmp.type, code: icmp.code } }),
  }
}
