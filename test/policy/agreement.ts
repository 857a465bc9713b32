// Whether rules in the kernel do what the reference evaluator says of a world: each packet is walked over the tables of the
// nodes that it passes, and must come through exactly where the policies of both its ends let it.
import { type Hop, hopsOf } from './hops.ts'
import type { ConnectionState } from './interpreter/packet.ts'
import { interpreter, type Table } from './interpreter.ts'
import { nodeAddresses } from './reference/endpoints.ts'
import { judgeHost } from './reference/hosts.ts'
import type { Pod, World } from './reference/objects.ts'
import { ofKind } from './reference/objects.ts'
import type { Decision } from './reference/tiers.ts'
import { flowOf, judge, type Packet } from './reference.ts'

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
    const hops = hopsOf(world, packet, rendered)
    const ways = hops.map(hop => {
      const walk = nodes.get(hop.node) ?? interpreter(rendered.tablesOf(hop.node))
      nodes.set(hop.node, walk)
      return { node: hop.node, ...walk(hop.packet) }
    })
    const hosts = hops.map(hop => judgeHop(world, packet, hop, rendered.uplink))
    const passes = ways.every(({ verdict }) => verdict === 'accept')
    if (passes === (allowed && hosts.every(({ verdict }) => verdict === 'allow'))) continue
    const last = (way: (typeof ways)[number]) => {
      const rule = way.rules.at(-1)
      const place = rule === undefined ? 'no rule' : `${rule.table}/${rule.chain} rule ${rule.index}`
      return `${way.node} ${way.verdict} after ${place} (${way.chains.join(' > ')})`
    }
    found.push(
      `${JSON.stringify(packet)}: egress ${text(egress)}, ingress ${text(ingress)}, hosts ${hosts.map(text).join(', ')}; but ${ways.map(last).join(', ') || 'no hop'}`,
    )
  }
  return found
}

/** What the host endpoints of a node say of a packet that passes it. The uplink has all addresses of its node. */
export function judgeHop(world: World, packet: Packet, { node, packet: { iif, oif } }: Hop, uplink = 'eth0'): Decision {
  const own = ofKind(world, 'Node').find(({ metadata }) => metadata.name === node)
  const addresses = { [uplink]: own === undefined ? [] : nodeAddresses(own) }
  return judgeHost(world, { node, ...(iif && { iif }), ...(oif && { oif }), flow: flowOf(world, packet), addresses })
}

function text({ verdict, reason }: Decision): string {
  return `${verdict} by ${JSON.stringify(reason)}`
}
