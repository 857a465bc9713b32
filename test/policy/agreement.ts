// Whether rules in the kernel do what the reference evaluator says of a world: each packet is walked over the tables of the
// nodes that it passes, and must come through exactly where the policies of both its ends let it.
import { hopsOf } from './hops.ts'
import type { ConnectionState } from './interpreter/packet.ts'
import { interpreter, type Table } from './interpreter.ts'
import type { Pod, World } from './reference/objects.ts'
import type { Decision } from './reference/tiers.ts'
import { judge, type Packet } from './reference.ts'

export type Rendered = {
  /** The tables of one node, as they stand in its kernel. */
  tablesOf: (node: string) => readonly Table[]
  /** The interface of a pod on its node. */
  interfaceOf: (pod: Pod) => string
  uplink?: string
  state?: ConnectionState
}

/** What is not so, a text each with both reasons; empty when all agree. Throws where a rule means nothing (see interpreter). */
export function disagreements(world: World, packets: readonly Packet[], rendered: Rendered): string[] {
  const nodes = new Map<string, ReturnType<typeof interpreter>>()
  const found: string[] = []
  for (const packet of packets) {
    const { egress, ingress, allowed } = judge(world, packet)
    const ways = hopsOf(world, packet, rendered).map(hop => {
      const walk = nodes.get(hop.node) ?? interpreter(rendered.tablesOf(hop.node))
      nodes.set(hop.node, walk)
      return { node: hop.node, ...walk(hop.packet) }
    })
    const passes = ways.every(({ verdict }) => verdict === 'accept')
    if (passes === allowed) continue
    const last = (way: (typeof ways)[number]) => {
      const rule = way.rules.at(-1)
      const place = rule === undefined ? 'no rule' : `${rule.table}/${rule.chain} rule ${rule.index}`
      return `${way.node} ${way.verdict} after ${place} (${way.chains.join(' > ')})`
    }
    found.push(
      `${JSON.stringify(packet)}: egress ${text(egress)}, ingress ${text(ingress)}; but ${ways.map(last).join(', ') || 'no hop'}`,
    )
  }
  return found
}

function text({ verdict, reason }: Decision): string {
  return `${verdict} by ${JSON.stringify(reason)}`
}
