// The status of a CalicoNodeStatus in Calico's words, from what this node knows of itself. Pure. Lists are bounded, since an
// object of the API server has at most 1.5 MB: of a large mesh the numbers are whole and the lists are not.
import { formatSeconds } from '../../lib/clock.ts'
import { familyOf } from '../../lib/ip.ts'
import type { PeerOrigin } from '../cluster/sessions.ts'

export type Observed = {
  ready: boolean
  version: string
  startedMs: number
  address?: string
  ipv6Address?: string
  /** The BGP identifier; absent while the node has no address. */
  routerId?: string
  peers: readonly { address: string; state: string; sinceMs: number; origin?: PeerOrigin }[]
  /** Own blocks, as CIDRs. */
  blocks: readonly string[]
  learned: readonly (Way & { prefix: string; paths?: readonly Way[] })[]
}

type Way = { nextHop: string; interface?: string }

/** Most peers and most routes of each family in one object. */
const MOST = 1000
const PEER_TYPES: Readonly<Record<PeerOrigin, string>> = {
  ...{ mesh: 'NodeMesh', node: 'NodePeer', global: 'GlobalPeer' },
  // there is no word for it
  workload: 'NodePeer',
}

/** What was asked for by `classes`; null takes a part away that an earlier writer left. */
export function calicoNodeStatus(classes: readonly string[], observed: Observed, nowMs: number): object {
  return {
    agent: classes.includes('Agent') ? agentPart(observed) : null,
    bgp: classes.includes('BGP') ? bgpPart(observed) : null,
    routes: classes.includes('Routes') ? routesPart(observed) : null,
    lastUpdated: formatSeconds(nowMs),
  }
}

/** One speaker serves both families: it is told under each of which the node has an address; while it has none, under IPv4. */
function agentPart({ ready, version, startedMs, address, ipv6Address, routerId }: Observed): object {
  const speaker = {
    state: ready ? 'Ready' : 'NotReady',
    version: `margay ${version}`,
    lastBootTime: formatSeconds(startedMs),
  }
  const told = { ...speaker, ...(routerId !== undefined && { routerID: routerId }) }
  return {
    birdV4: address === undefined && ipv6Address !== undefined ? null : told,
    birdV6: ipv6Address === undefined ? null : told,
  }
}

function bgpPart({ peers }: Observed): object {
  const [v4, v6] = byFamily(peers, ({ address }) => address)
  const up = (all: Observed['peers']): number => all.filter(({ state }) => state === 'Established').length
  const shown = (all: Observed['peers']): object[] =>
    all.slice(0, MOST).map(({ address, state, sinceMs, origin = 'global' }) => ({
      ...{ peerIP: address, type: PEER_TYPES[origin], state, since: formatSeconds(sinceMs) },
    }))
  return {
    ...{ numberEstablishedV4: up(v4), numberNotEstablishedV4: v4.length - up(v4) },
    ...{ numberEstablishedV6: up(v6), numberNotEstablishedV6: v6.length - up(v6) },
    ...{ peersV4: shown(v4), peersV6: shown(v6) },
  }
}

/**
 * Own blocks, then learned routes, one for each path that is used. Routes do not keep which peer they came from: where the next hop is a peer of the mesh it
 * is that one, and else only the source is told.
 */
function routesPart({ blocks, learned, peers }: Observed): object {
  const mesh = new Set(peers.filter(({ origin }) => origin === 'mesh').map(({ address }) => address))
  const own = blocks.map(destination => ({ destination, learnedFrom: { sourceType: 'Static' }, type: 'FIB' }))
  const others = learned.flatMap(({ prefix, paths, ...best }) =>
    (paths ?? [best]).map(({ nextHop, interface: name }) => ({
      ...{ destination: prefix, gateway: nextHop, ...(name === undefined ? {} : { interface: name }) },
      learnedFrom: mesh.has(nextHop) ? { sourceType: 'NodeMesh', peerIP: nextHop } : { sourceType: 'BGPPeer' },
      type: 'FIB',
    })),
  )
  const [v4, v6] = byFamily([...own, ...others], ({ destination }) => destination)
  return { routesV4: v4.slice(0, MOST), routesV6: v6.slice(0, MOST) }
}

function byFamily<T>(all: readonly T[], text: (item: T) => string): [v4: T[], v6: T[]] {
  const isV4 = (item: T): boolean => familyOf(text(item)) === 'ipv4'
  return [all.filter(isV4), all.filter(item => !isV4(item))]
}
