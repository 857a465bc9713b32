// Why a BGPPeer or a node has no session, for people. Pure.
import { broken, type Condition, type ConditionCause, formatRef, type ObjectRef } from '../../api/status.ts'

/** Most addresses that a clash names. */
const MOST_NAMED = 3

/** Two objects name one address; the winner has it. */
export function clash(loser: ObjectRef, winner: ObjectRef, addresses: readonly string[]): Condition {
  const named = addresses.slice(0, MOST_NAMED).join(', ')
  const more = addresses.length > MOST_NAMED ? ` and ${addresses.length - MOST_NAMED} more` : ''
  const [type, what] =
    loser.kind === 'Node' ? (['AddressesUnique', 'node'] as const) : (['PeersConfigured', 'peer'] as const)
  return broken(type, {
    reason: 'AddressClash',
    message: `${formatRef(winner)} and ${formatRef(loser)} name the same ${what} ${named}${more}; ${formatRef(winner)} is used`,
    remedy:
      loser.kind === 'Node'
        ? `delete ${formatRef(loser)} if its machine is gone, or give it addresses of its own`
        : `change or delete ${formatRef(loser)} or ${formatRef(winner)}`,
    object: loser,
  })
}

/** Two nodes have one BGP identifier, which of a node without an IPv4 address is made of its name. */
export function identifierClash(far: ObjectRef, here: ObjectRef, routerId: string): Condition {
  return broken('AddressesUnique', {
    reason: 'IdentifierClash',
    message: `${formatRef(here)} and ${formatRef(far)} have the same BGP identifier ${routerId}, so they have no session and take no routes of each other`,
    remedy: `give one of the two an IPv4 address, which then is its identifier, or another node name`,
    object: far,
  })
}

export function noCommonFamily(far: ObjectRef, { address }: { address?: string }): Condition {
  const has = address === undefined ? 'IPv6' : 'IPv4'
  const lacks = address === undefined ? 'IPv4' : 'IPv6'
  return broken('FamiliesReachable', {
    reason: 'NoCommonFamily',
    message: `${formatRef(far)} has an ${has} address alone and this node an ${lacks} address alone, so their pods do not reach each other`,
    remedy: `give one of the two nodes an address of both families`,
    object: far,
  })
}

export function noPeers(clusterId: string | undefined): ConditionCause {
  const why = clusterId === undefined ? 'nodeToNodeMeshEnabled is false' : 'it is a route reflector'
  return {
    reason: 'NoPeers',
    message: `this node has no BGP session with any other node: ${why}, and no BGPPeer is for it`,
    remedy: 'create a BGPPeer with nodeSelector and peerSelector that joins this node to others, or use the mesh',
  }
}

export function badAddress(peerIP: string): ConditionCause {
  return {
    reason: 'BadAddress',
    message: `peerIP ${JSON.stringify(peerIP)} is not an address`,
    remedy: 'write IP, IP:port or [IPv6]:port, or a peerSelector',
  }
}

export const NO_AS_NUMBER: ConditionCause = {
  reason: 'NoAsNumber',
  message: 'asNumber is missing: a peer named by peerIP needs one',
  remedy: 'set asNumber',
}
