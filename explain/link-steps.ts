// What carries a packet from node to node: tunnel, neighbour, MTU, link. Pure.
import type { LinkFacts, NeighbourFacts, WayFacts } from '../api/explain.ts'
import {
  absenceOf,
  type Crossing,
  evidence,
  type Finding,
  known,
  nameOf,
  passes,
  stopped,
  unknown,
} from './crossing.ts'
import { sessionBetween } from './no-way.ts'
import { podMtu } from './pod-steps.ts'
import { noRoute, routeText } from './route-steps.ts'

/** The outer packet: the device, the entry of the other end, the way to it. */
export function tunnelStep(c: Crossing): Finding | undefined {
  const { near, way } = c
  const outer = way?.outer
  if (near === undefined || way === undefined || outer === undefined) return undefined
  const { node } = near
  const device = known(way.leavesBy)
  if (device === undefined) return unknown(`${node} does not tell of its tunnel: ${absenceOf(way.leavesBy)}`)
  if (!device.up)
    return stopped(
      {
        code: 'TunnelDown',
        node,
        object: { kind: 'Link', name: device.name },
        message: `tunnel ${device.name} of ${node} is down`,
        values: { device: device.name },
      },
      evidence(way.leavesBy, linkText(device)),
    )
  const entry = entryFault(c, way, device)
  if (entry !== undefined) return entry
  const said = known(outer.lookup)
  if (said === undefined)
    return unknown(`${node} does not say how it reaches ${outer.remote}: ${absenceOf(outer.lookup)}`)
  if ('route' in said)
    return said.route.type === 'unicast'
      ? passes(`${outer.encapsulation} to ${outer.remote}`, evidence(outer.lookup, routeText(said.route)))
      : unknown(
          `${node} reaches ${outer.remote} by ${routeText(said.route)}`,
          evidence(outer.lookup, routeText(said.route)),
        )
  const says = evidence(outer.lookup, `${outer.remote}: ${said.errno} (${said.message})`)
  if (said.errno === 'ENETUNREACH')
    return stopped(noRoute(near, outer.remote, `, where its tunnel to ${nameOf(c.target)} ends`), says)
  return unknown(`${node} cannot reach ${outer.remote}, where its tunnel ends: ${said.errno}`, says)
}

/** VXLAN sends by an entry of the forwarding table; without one packets go nowhere. */
function entryFault({ near }: Crossing, { outer, neighbour }: WayFacts, device: LinkFacts): Finding | undefined {
  if (outer?.encapsulation !== 'vxlan' || outer.entry === undefined) return undefined
  if ('absent' in outer.entry) return unknown(`the entries of ${device.name} are not known: ${outer.entry.absent}`)
  const entry = outer.entry.value
  if (entry?.remote === outer.remote) return undefined
  const mac = entry?.mac ?? known(neighbour)?.mac
  const is = entry?.remote === undefined ? 'has no entry' : `has an entry that leads to ${entry.remote}`
  return stopped(
    {
      code: 'TunnelEntryMissing',
      node: near!.node,
      object: { kind: 'FdbEntry', name: mac ?? outer.remote },
      message: `${device.name} of ${near!.node} ${is} for ${outer.remote}`,
      values: { mac, device: device.name, address: outer.remote },
    },
    evidence(outer.entry, `${device.name} ${is} for ${mac ?? outer.remote}`),
  )
}

/** Of the next hop on the link by which the packet leaves the node. */
export function neighbourStep(c: Crossing): Finding | undefined {
  const { near, way, isOneNode } = c
  if (near === undefined || way === undefined) return undefined
  const { node } = near
  const fact = way.outer === undefined ? way.neighbour : way.outer.neighbour
  const device = known(way.outer === undefined ? way.leavesBy : way.outer.leavesBy)?.name ?? '?'
  if (fact === undefined) return undefined
  const neighbour = known(fact)
  if (neighbour === undefined)
    return 'absent' in fact
      ? unknown(`${node} does not tell of its neighbour on ${device}: ${fact.absent}`)
      : passes(`${node} asks for the next hop on ${device} when it has a packet for it`)
  const says = evidence(fact, neighbourText(neighbour, device))
  const wrong = wrongBy(c, neighbour, device)
  if (wrong !== undefined)
    return stopped(
      {
        code: 'NeighbourWrong',
        node,
        object: { kind: 'Neighbour', name: `${neighbour.address} dev ${device}` },
        message: `${node}: ${wrong}`,
        ...(neighbour.by !== undefined && { setBy: { who: 'foreign', text: neighbour.by } }),
        values: { address: neighbour.address, device },
      },
      says,
    )
  if (neighbour.state !== 'failed' && neighbour.state !== 'incomplete')
    return passes(neighbourText(neighbour, device), says)
  const path = known(near.facts?.path)
  const isLost =
    near.trace?.outcome === 'silent' || (!isOneNode && path?.state === 'lost' && path.hostAnswers === false)
  if (neighbour.state !== 'failed' || !isLost)
    return unknown(`${neighbour.address} on ${device} of ${node} did not answer when it was asked last`, says)
  return stopped(
    {
      code: 'NeighbourFailed',
      node,
      object: { kind: 'Neighbour', name: `${neighbour.address} dev ${device}` },
      message: `${neighbour.address}, the next hop of ${node} on ${device}, does not answer`,
      values: { address: neighbour.address, device },
    },
    says,
  )
}

/** Why a permanent entry of somebody else is wrong; undefined where nothing proves it. */
function wrongBy({ near, far, arrival }: Crossing, neighbour: NeighbourFacts, device: string): string | undefined {
  if (neighbour.state !== 'permanent' || neighbour.ours) return undefined
  const told = near!.facts!.conditions.find(
    ({ type, status, object }) =>
      type === 'NeighboursRight' && status === 'False' && object?.name === `${neighbour.address} ${device}`,
  )
  if (told !== undefined) return told.message
  const theirs = known(arrival?.entersBy)
  const own = arrival?.from === 'uplink' ? theirs : undefined
  const isTheirs = sessionBetween(near, far)?.address === neighbour.address
  if (!isTheirs || own?.mac === undefined || own.mac.toLowerCase() === neighbour.mac?.toLowerCase()) return undefined
  return `a permanent neighbour entry of another program gives ${neighbour.address} the MAC ${neighbour.mac ?? 'of nobody'} on ${device}, and ${own.name} of ${far!.node} has ${own.mac}`
}

/** What the sender makes must fit through its own end, and through the network between the nodes. */
export function mtuStep(c: Crossing): Finding | undefined {
  const { near, far, packet, isOneNode } = c
  if (near?.facts === undefined) return undefined
  const own = podMtu(c)
  if (own !== undefined) return own
  const path = known(near.facts.path)
  const pod = known(near.facts.endpoints.find(each => each.addresses.includes(packet.source))?.mtu)
  if (isOneNode || far === undefined) return passes('what the sender makes fits')
  const largest = packet.length ?? pod?.pod ?? pod?.wanted
  if (path?.node !== far.node || path.mtu === undefined || largest === undefined)
    return passes('no smaller packet than those of the sender is known to be too large')
  if (path.mtu >= largest) return passes(`packets of ${path.mtu} octets pass whole`)
  return stopped(
    {
      code: 'MtuPath',
      node: near.node,
      object: { kind: 'Node', name: far.node },
      message: `packets of more than ${path.mtu} octets from ${near.node} do not reach ${far.node} whole, and the sender makes up to ${largest}`,
      values: { mtu: path.mtu },
    },
    evidence(near.facts.path, `largest that passed: ${path.mtu}`),
  )
}

/** The link by which the packet, or the outer one, leaves the node. */
export function uplinkStep(c: Crossing): Finding | undefined {
  const { near, way, isOneNode } = c
  if (near === undefined || way === undefined || isOneNode) return undefined
  const fact = way.outer === undefined ? way.leavesBy : way.outer.leavesBy
  if (fact === undefined) return undefined
  const link = known(fact)
  if (link === undefined) return unknown(`${near.node} does not tell of the link: ${absenceOf(fact)}`)
  if (link.up && link.running) return passes(linkText(link), evidence(fact, linkText(link)))
  return stopped(
    {
      code: 'UplinkDown',
      node: near.node,
      object: { kind: 'Link', name: link.name },
      message: `${link.name} of ${near.node} ${link.up ? 'has no carrier' : 'is down'}`,
      values: { device: link.name },
    },
    evidence(fact, linkText(link)),
  )
}

function linkText({ name, up, running, mtu }: LinkFacts): string {
  return `${name} is ${up ? (running ? 'up' : 'up without carrier') : 'down'}, MTU ${mtu}`
}

function neighbourText({ address, mac, state }: NeighbourFacts, device: string): string {
  return `${address} dev ${device}${mac === undefined ? '' : ` is ${mac}`} (${state})`
}
