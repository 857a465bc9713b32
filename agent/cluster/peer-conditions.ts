// Why a BGPPeer or a node has no session, for people. Pure.
import { BGP_ANNOTATION } from '../../api/core.ts'
import {
  broken,
  type CauseOf,
  type Condition,
  type ConditionCause,
  formatRef,
  type ObjectRef,
} from '../../api/status.ts'
import { type NodeFacts, routerIdOf } from './nodes.ts'

/** Most addresses that a clash names. */
const MOST_NAMED = 3

/** Two objects name one address; the winner has it. */
export function clash(loser: ObjectRef, winner: ObjectRef, addresses: readonly string[]): Condition {
  const named = addresses.slice(0, MOST_NAMED).join(', ')
  const more = addresses.length > MOST_NAMED ? ` and ${addresses.length - MOST_NAMED} more` : ''
  const clashing = (what: string, remedy: string): ConditionCause<'AddressClash'> => ({
    reason: 'AddressClash',
    message: `${formatRef(winner)} and ${formatRef(loser)} name the same ${what} ${named}${more}; ${formatRef(winner)} is used`,
    remedy,
    object: loser,
  })
  return loser.kind === 'Node'
    ? broken(
        'AddressesUnique',
        clashing('node', `delete ${formatRef(loser)} if its machine is gone, or give it addresses of its own`),
      )
    : broken('PeersConfigured', clashing('peer', `change or delete ${formatRef(loser)} or ${formatRef(winner)}`))
}

/** Two nodes have one BGP identifier, which of a node without an IPv4 address is made of its name. */
function identifierClash(far: ObjectRef, here: ObjectRef, routerId: string): Condition {
  return broken('AddressesUnique', {
    reason: 'IdentifierClash',
    message: `${formatRef(here)} and ${formatRef(far)} have the same BGP identifier ${routerId}, so they have no session and take no routes of each other`,
    remedy: `give one of the two an IPv4 address, which then is its identifier, or another node name`,
    object: far,
  })
}

function noCommonFamily(far: ObjectRef, { address }: { address?: string }): Condition {
  const has = address === undefined ? 'IPv6' : 'IPv4'
  const lacks = address === undefined ? 'IPv4' : 'IPv6'
  return broken('FamiliesReachable', {
    reason: 'NoCommonFamily',
    message: `${formatRef(far)} has an ${has} address alone and this node an ${lacks} address alone, so their pods do not reach each other`,
    remedy: `give one of the two nodes an address of both families`,
    object: far,
  })
}

type OwnAddresses = Pick<NodeFacts, 'address' | 'ipv6Address'>

/**
 * What is wrong with another Node, seen from this one: it has an address of this node, which is its only holder; or its BGP identifier,
 * without which there is no session (RFC 6286 §2.2) and reflected routes look like loops; or no address of a family of this node.
 */
export function nodeConditions(facts: NodeFacts, own: OwnAddresses & { nodeName: string }): Condition[] {
  const { nodeName, address, ipv6Address } = own
  const [far, here]: ObjectRef[] = [
    { kind: 'Node', name: facts.name },
    { kind: 'Node', name: nodeName },
  ]
  const same = [facts.address, facts.ipv6Address].filter(each => each !== undefined)
  const shared = same.filter(each => each === address || each === ipv6Address)
  if (shared.length > 0) return [clash(far!, here!, shared)]
  if (same.length === 0) return []
  const routerId = routerIdOf({ name: nodeName, address })
  return [
    ...(routerIdOf(facts) === routerId ? [identifierClash(far!, here!, routerId)] : []),
    ...(sharesFamily(facts, own) ? [] : [noCommonFamily(far!, facts)]),
  ]
}

export function sharesFamily(facts: OwnAddresses, { address, ipv6Address }: OwnAddresses): boolean {
  return (
    (address !== undefined && facts.address !== undefined) ||
    (ipv6Address !== undefined && facts.ipv6Address !== undefined)
  )
}

export function noPeers(clusterId: string | undefined): CauseOf<'PeersConfigured'> {
  const why = clusterId === undefined ? 'nodeToNodeMeshEnabled is false' : 'it is a route reflector'
  return {
    reason: 'NoPeers',
    message: `this node has no BGP session with any other node: ${why}, and no BGPPeer is for it`,
    remedy: 'create a BGPPeer with nodeSelector and peerSelector that joins this node to others, or use the mesh',
  }
}

export function badAddress(peerIP: string): CauseOf<'PeersConfigured'> {
  return {
    reason: 'BadAddress',
    message: `peerIP ${JSON.stringify(peerIP)} is not an address`,
    remedy: `write IP, IP:port or [IPv6]:port, or a peerSelector, or the annotation ${BGP_ANNOTATION.interface} or ${BGP_ANNOTATION.range}`,
  }
}

export const NO_AS_NUMBER: CauseOf<'PeersConfigured'> = {
  reason: 'NoAsNumber',
  message: 'asNumber is missing: a peer named by peerIP needs one',
  remedy: 'set asNumber',
}
