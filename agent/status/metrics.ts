// Prometheus metrics of one agent, made afresh for each scrape from the same state that `status` shows: no counter here
// can drift from what is true.
import { Gauge, Registry } from 'prom-client'
import type { NodeAgent } from '../node-agent.ts'

/** The text a scraper reads. */
export async function metricsText(agent: NodeAgent): Promise<string> {
  const registry = new Registry()
  const gauge = (name: string, help: string, labelNames: string[] = []) =>
    new Gauge({ name: `margay_${name}`, help, labelNames, registers: [registry] })
  const status = agent.status()
  gauge('ready', '1 when this node can serve its pods').set(status.ready ? 1 : 0)
  gauge('endpoints', 'pod interfaces of this node').set(status.endpoints.length)
  gauge('learned_routes', 'prefixes chosen from BGP peers').set(status.learned.length)
  const condition = gauge('condition', '1 when the condition is fine', ['type'])
  for (const { type, ok } of status.conditions) condition.set({ type }, ok ? 1 : 0)
  const used = gauge('ipam_block_used', 'addresses in use per own block', ['cidr', 'pool'])
  for (const { cidr, pool, used: count } of status.blocks) used.set({ cidr, pool }, count)
  const up = gauge('bgp_peer_up', '1 when the session is Established', ['peer', 'address'])
  const flaps = gauge('bgp_peer_flaps', 'times the session left Established', ['peer', 'address'])
  const prefixes = gauge('bgp_peer_prefixes', 'prefixes per direction', ['peer', 'address', 'direction'])
  for (const { name: peer, address, state, flaps: count, prefixes: counts } of status.peers) {
    up.set({ peer, address }, state === 'Established' ? 1 : 0)
    flaps.set({ peer, address }, count)
    for (const [direction, value] of Object.entries(counts)) prefixes.set({ peer, address, direction }, value)
  }
  return registry.metrics()
}
