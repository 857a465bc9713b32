// Prometheus metrics of one agent, made afresh for each scrape from the answer to `GET /status` and the kernel's counters:
// none here can drift from what is true. Labels are bounded: sessions of the node-to-node mesh are counted, not listed.
import { Counter, Gauge, Registry } from 'prom-client'
import { type AgentStatus, MESH_PEER } from '../../api/answers.ts'
import { CONDITION_TYPES } from '../../api/status.ts'

/** The text a scraper reads. `dropped`: packets that the pod filter dropped, by the reason. */
export async function metricsText(status: AgentStatus, dropped: ReadonlyMap<string, number>): Promise<string> {
  const registry = new Registry()
  const gauge = (name: string, help: string, labelNames: string[] = []) =>
    new Gauge({ name: `margay_${name}`, help, labelNames, registers: [registry] })
  gauge('ready', '1 when this node can serve its pods').set(status.ready ? 1 : 0)
  gauge('endpoints', 'pod interfaces of this node').set(status.endpoints?.length ?? 0)
  gauge('learned_routes', 'prefixes chosen from BGP peers').set(status.learned?.length ?? 0)

  const condition = gauge('condition', '1 when the condition is fine', ['type'])
  const objects = gauge('condition_objects', 'objects for which the condition is not fine', ['type'])
  for (const type of Object.keys(CONDITION_TYPES)) {
    const wrong = status.conditions.filter(each => each.type === type && each.status !== 'True')
    condition.set({ type }, wrong.length === 0 ? 1 : 0)
    objects.set({ type }, wrong.length)
  }

  const used = gauge('ipam_block_used', 'addresses in use per own block', ['cidr', 'pool'])
  for (const { cidr, pool, used: count } of status.blocks ?? []) used.set({ cidr, pool }, count)

  const sessions = gauge('bgp_peers', 'BGP sessions by where they come from and their state', ['type', 'state'])
  for (const { type, state } of status.peers) sessions.inc({ type, state })
  const up = gauge('bgp_peer_up', '1 when the session of a BGPPeer is Established', ['peer', 'address'])
  const flaps = gauge('bgp_peer_flaps', 'times the session of a BGPPeer left Established', ['peer', 'address'])
  const prefixes = gauge('bgp_peer_prefixes', 'prefixes of a BGPPeer per direction', ['peer', 'address', 'direction'])
  for (const { name: peer, address, type, state, flaps: count, prefixes: counts } of status.peers) {
    if (type === MESH_PEER) continue
    up.set({ peer, address }, state === 'Established' ? 1 : 0)
    flaps.set({ peer, address }, count)
    for (const [direction, value] of Object.entries(counts)) prefixes.set({ peer, address, direction }, value)
  }
  const packets = new Counter({
    name: 'margay_dropped_packets_total',
    help: 'packets that the pod filter dropped',
    labelNames: ['reason'],
    registers: [registry],
  })
  for (const [reason, count] of dropped) packets.inc({ reason }, count)
  return registry.metrics()
}
