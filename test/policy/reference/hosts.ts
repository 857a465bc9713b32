// Policy of the interfaces of hosts (HostEndpoint): what comes by one, and what leaves by one. In order: policies that do not
// track, those before the translation of destinations, and then the others: of what is for the host or from it all that are
// left, of what is forwarded those with applyOnForward. What pods say of the same packet is apart: both must let it pass.
// Readings of Felix (felix/rules/static.go, dispatch.go and felix/dataplane/linux/endpoint_mgr.go): Allow of one of the first
// two lets the packet pass what is asked later about the interface that it comes by, and of a packet of the host what is asked
// about the one that it leaves by; the tiers of these two do not end, and no profile is asked; nor is one of what is forwarded,
// which passes where no policy with applyOnForward is about the interface and direction. Of several HostEndpoints for one
// interface the first by name counts, one with the name of the interface before one with an address of it, and both before `*`.
// `*` is for the interfaces of pods too, but not for what is for the host or from it there, and no policy that does not track
// is asked for it. Loopback is never judged.
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

/** What the names of the interfaces of pods begin with. */
const isOfPod = (device: string | undefined) => device?.startsWith('cali') === true

/** What policies of the host's interfaces say of the first packet of a connection. */
export function judgeHost(world: World, of: HostFlow): Decision {
  const { iif, oif, flow, translated = flow } = of
  if (iif === 'lo' || oif === 'lo') return pass('loopback')
  const from = iif === undefined ? undefined : hostEndpointOf(world, of, iif)
  const to = oif === undefined ? undefined : hostEndpointOf(world, of, oif)
  const isForwarded = iif !== undefined && oif !== undefined
  const early = (host: HostEndpoint | undefined, direction: Direction, stage: 'untracked' | 'preDNAT') => {
    // a port that stays open is not asked about here; later it may be, where the packet is forwarded
    if (host === undefined || isFailsafe(flow, direction)) return undefined
    if (stage === 'untracked' && host.spec.interfaceName === '*') return undefined
    return throughTiers(world, { endpoint: endpointFor(world, host), flow, direction, stages: [stage] })
  }
  const entered = early(isOfPod(iif) ? undefined : from, 'ingress', 'untracked') ?? early(from, 'ingress', 'preDNAT')
  if (entered?.verdict === 'deny') return entered
  const left = isForwarded ? undefined : early(isOfPod(oif) ? undefined : to, 'egress', 'untracked')
  if (left?.verdict === 'deny') return left
  const late: [HostEndpoint | undefined, Direction, Decision | undefined][] = [
    [!isForwarded && isOfPod(iif) ? undefined : from, 'ingress', entered],
    [!isForwarded && isOfPod(oif) ? undefined : to, 'egress', left],
  ]
  let last = pass('no interface with a HostEndpoint')
  for (const [host, direction, before] of late) {
    if (host === undefined && before === undefined) continue
    last =
      before ??
      (isForwarded
        ? judgeForwarded(world, host!, translated, direction)
        : judgeOwn(world, host!, translated, direction))
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

function isFailsafe({ protocol, destinationPort, icmp }: Flow, direction: Direction): boolean {
  // routers and neighbours, whom ARP finds for IPv4 below all policies: here Felix judges, and such a host is cut off
  if (protocol === 58 && icmp !== undefined && icmp.type >= 130 && icmp.type <= 136) return true
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
