// Policy of the interfaces of hosts (HostEndpoint), which pods have nothing to do with: what comes by one, and what leaves by
// one. In order: policies that do not track, those before the translation of destinations, and then the others: of what is
// for the host or from it all that are left, of what is forwarded those with applyOnForward.
// Readings of Felix: Allow of one of the first two lets the packet pass all that comes after it, the
// policies of a pod included; the tiers of these two do
// not end, and no profile is asked; nor is one of what is forwarded, which passes where no policy with applyOnForward is
// about the interface and direction. Of several HostEndpoints for one interface the first by name counts, one with the
// name of the interface or an address of it before `*`.
import { sameAddress } from './addresses.ts'
import { type Endpoint, endpointsOf } from './endpoints.ts'
import type { Direction, Flow } from './flow.ts'
import { type HostEndpoint, ofKind, type World } from './objects.ts'
import { byProfiles, type Decision, isAsked, throughTiers } from './tiers.ts'

export type HostFlow = {
  node: string
  /** The interface by which it comes; the host sends what comes by none, and takes what leaves by none. */
  iif?: string
  oif?: string
  /** As it is on the wire by which it comes. */
  flow: Flow
  /** After the translation of its destination, where there is one. */
  translated?: Flow
  /** The addresses of the interfaces of the node. */
  addresses?: Readonly<Record<string, readonly string[]>>
}

/** Ports of the host that stay open whatever the policies are: the defaults of Felix. */
const FAILSAFE = {
  ingress: { 6: [22, 179, 2379, 2380, 5473, 6443, 6666, 6667], 17: [68] },
  egress: { 6: [179, 2379, 2380, 5473, 6443, 6666, 6667], 17: [53, 67] },
} as const

const pass = (why: string): Decision => ({ verdict: 'allow', reason: { by: 'not judged', why } })

/** What policies of the host's interfaces say of the first packet of a connection; interfaces of pods have none. */
export function judgeHost(world: World, of: HostFlow): Decision {
  const { iif, oif, flow, translated = flow } = of
  const from = iif === undefined ? undefined : hostEndpointOf(world, of, iif)
  const to = oif === undefined ? undefined : hostEndpointOf(world, of, oif)
  const isForwarded = iif !== undefined && oif !== undefined
  const early: [HostEndpoint | undefined, Direction, 'untracked' | 'preDNAT'][] = [
    [from, 'ingress', 'untracked'],
    [from, 'ingress', 'preDNAT'],
    [isForwarded ? undefined : to, 'egress', 'untracked'],
  ]
  for (const [host, direction, stage] of early) {
    // a port that stays open is not asked about here; later it may be, where the packet is forwarded
    if (host === undefined || isFailsafe(flow, direction)) continue
    const question = { endpoint: endpointFor(world, host), flow, direction, stages: [stage] }
    const decision = throughTiers(world, question)
    if (decision !== undefined) return decision
  }
  const late: [HostEndpoint | undefined, Direction][] = [
    [from, 'ingress'],
    [to, 'egress'],
  ]
  let last = pass('no interface with a HostEndpoint')
  for (const [host, direction] of late) {
    if (host === undefined) continue
    last = isForwarded
      ? judgeForwarded(world, host, translated, direction)
      : judgeOwn(world, host, translated, direction)
    if (last.verdict === 'deny') return last
  }
  return last
}

function judgeForwarded(world: World, host: HostEndpoint, flow: Flow, direction: Direction): Decision {
  const question = { endpoint: endpointFor(world, host), flow, direction, stages: ['forward'] as const }
  if (!isAsked(world, question)) return pass('no policy on what is forwarded')
  return throughTiers(world, question) ?? pass('passed')
}

function judgeOwn(world: World, host: HostEndpoint, flow: Flow, direction: Direction): Decision {
  if (isFailsafe(flow, direction)) return pass('failsafe')
  const question = { endpoint: endpointFor(world, host), flow, direction, stages: ['normal', 'forward'] as const }
  return throughTiers(world, question) ?? byProfiles(world, host.spec.profiles ?? [])
}

function isFailsafe({ protocol, destinationPort }: Flow, direction: Direction): boolean {
  const open: Readonly<Record<number, readonly number[]>> = FAILSAFE[direction]
  return destinationPort !== undefined && (open[protocol] ?? []).includes(destinationPort)
}

function hostEndpointOf(world: World, { node, addresses = {} }: HostFlow, device: string): HostEndpoint | undefined {
  const ofNode = ofKind(world, 'HostEndpoint')
    .filter(({ spec }) => spec.node === node)
    .toSorted((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1))
  const own = addresses[device] ?? []
  return (
    ofNode.find(({ spec }) => spec.interfaceName === device) ??
    ofNode.find(
      ({ spec }) =>
        (spec.interfaceName ?? '') === '' &&
        (spec.expectedIPs ?? []).some(address => own.some(each => sameAddress(each, address))),
    ) ??
    ofNode.find(({ spec }) => spec.interfaceName === '*')
  )
}

function endpointFor(world: World, { metadata }: HostEndpoint): Endpoint {
  return endpointsOf(world).find(({ kind, name }) => kind === 'HostEndpoint' && name === metadata.name)!
}
