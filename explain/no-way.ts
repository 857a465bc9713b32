// Why a node has no way to a pod of another node: it was told none that it can use. The other node, the session between both and the
// agent's own word say why, the strongest first. Pure.
import type { NodeFacts, RouteFacts, RouteOrigin, SessionFacts } from '../api/explain.ts'
import type { Evidence } from '../api/explanation.ts'
import { parseCidr } from '../lib/ip.ts'
import { type Crossing, type Finding, known, mentions, nameOf, type Place, stopped, unknown } from './crossing.ts'

type NoWay = Extract<RouteOrigin, { of: 'none' }>

/** `instead`: the route that the kernel takes in its place, through which somebody else may know the pod. */
export function noWay(
  c: Crossing,
  place: Place,
  origin: NoWay,
  instead: RouteFacts | undefined,
  ...says: Evidence[]
): Finding {
  const { node } = place
  const { target, far } = c
  if (instead !== undefined && !isNowhere(place, far, instead))
    return unknown(
      `${node} was told no way to ${target.address} (${origin.message}) and sends it by ${instead.prefix}, where somebody may know one`,
      ...says,
    )
  const object = origin.object ?? { kind: 'Route', name: target.address }
  const lost = `${node} has no way to ${nameOf(target)}`
  if (far?.away === true)
    return stopped(
      {
        code: 'AgentSilent',
        node: far.node,
        object: { kind: 'Node', name: far.node },
        message: `${lost}: the agent of ${far.node} does not run, so it tells nobody the way to its pods`,
      },
      ...says,
    )
  if (isUnknownNode(far?.facts))
    return stopped(
      {
        code: 'NodeUnknown',
        node: far!.node,
        object: { kind: 'Node', name: far!.node },
        message: `${lost}: the cluster has no Node ${far!.node}`,
      },
      ...says,
    )
  const withheld = withheldFrom(place, far, target.address)
  if (origin.reason === 'NotExported' || withheld !== undefined)
    return stopped(
      {
        code: 'NotExported',
        node,
        object,
        message: `${lost}: ${withheld === undefined ? origin.message : `${far!.node} withholds it ${withheld}`}`,
        values: { remedy: origin.remedy },
      },
      ...says,
    )
  const session = sessionBetween(place, far)
  if (session !== undefined && session.state !== 'Established') {
    const theirs = sessionBetween(far, place)
    const isBoth = theirs !== undefined && theirs.state !== 'Established' && theirs.message !== session.message
    const they = isBoth ? `; ${far!.node} says: ${theirs.message || theirs.reason}` : ''
    return stopped(
      {
        code: 'SessionDown',
        node,
        object: { kind: 'BGPSession', name: session.peer },
        message: `${lost}: its BGP session with ${far?.node ?? session.peer} is down: ${session.message || session.reason}${they}`,
        values: { remedy: isBoth ? `${session.remedy}; on ${far!.node}: ${theirs.remedy}` : session.remedy },
      },
      ...says,
      { of: 'kernel', text: `session with ${session.address}: ${session.state}, ${session.reason}` },
    )
  }
  // where nobody announced it, the session or the other node may know why
  const isOpen = known(place.facts?.sessions) === undefined || far?.facts === undefined
  if (isOpen && origin.reason === 'NothingAnnounced') return unknown(`${lost}: ${origin.message}`, ...says)
  return stopped(
    {
      code: 'NoWayLearned',
      node,
      object,
      message: `${lost}: ${origin.message}`,
      values: { remedy: origin.remedy },
    },
    ...says,
  )
}

/** Whether a default route leads to nobody who knows pods: the probes of the path say so, or no router was told of them by either node. */
function isNowhere(place: Place, far: Place | undefined, instead: RouteFacts): boolean {
  if (parseCidr(instead.prefix)?.length !== 0) return false
  const path = known(place.facts?.path)
  if (path?.state === 'lost' && path.node === far?.node) return true
  const tellsRouters = ({ facts }: Place) =>
    known(facts?.sessions)?.some(({ node, state }) => node === undefined && state === 'Established') !== false
  return !tellsRouters(place) && far !== undefined && (far.away || !tellsRouters(far))
}

/** Why the other node keeps the block from this one; undefined where it does not, or keeps it from others. */
function withheldFrom(place: Place, far: Place | undefined, address: string): string | undefined {
  const withheld = known(far?.facts?.blocks)?.find(each => each.address === address)?.withheld
  const peer = sessionBetween(far, place)?.peer
  return withheld !== undefined && peer !== undefined && mentions(withheld, peer) ? withheld : undefined
}

/** The node itself says that the cluster does not have it. */
function isUnknownNode(facts: NodeFacts | undefined): boolean {
  return facts?.conditions.some(({ type, status }) => type === 'NodeObjectKnown' && status === 'False') === true
}

/** The session that one node has with the other; undefined where there is none, or it is not known. */
export function sessionBetween(at: Place | undefined, other: Place | undefined): SessionFacts | undefined {
  return known(at?.facts?.sessions)?.find(({ node }) => node !== undefined && node === other?.node)
}
