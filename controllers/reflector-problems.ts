// Why automatic route reflectors are not there, or not moved, and what a person can do about it. Pure.

import type { ControllerCause } from '../api/controller-conditions.ts'
import { BGP_ANNOTATION, NODE_ANNOTATION } from '../api/core.ts'
import type { Resource } from '../api/kinds.ts'
import type { UnknownObject } from './default-object.ts'
import type { MeshNode } from './reflector-nodes.ts'
import { REFLECTOR_WORDS } from './reflector-wish.ts'

const CONFIGURATION = { kind: 'BGPConfiguration', name: 'default' } as const
const MOST_NAMED = 10

export function badWish(fault: string): ControllerCause<'ReflectorsPlaced'> {
  return {
    ...{ object: CONFIGURATION, reason: 'BadAutoReflectors' },
    message: `annotation ${BGP_ANNOTATION.autoReflectors} makes no sense: ${fault}; what there is stays as it is`,
    remedy: `write some of ${REFLECTOR_WORDS}, or take the annotation away`,
  }
}

export function notKnown({ reason, message }: UnknownObject): ControllerCause<'ReflectorsPlaced'> {
  return {
    ...{ object: CONFIGURATION, reason },
    message: `nobody knows whether automatic reflectors are asked for, and what there is stays as it is: ${message}`,
    remedy:
      reason === 'Invalid'
        ? 'correct the BGPConfiguration default'
        : 'give margay-controllers the rights list and watch on bgpconfigurations: apply the manifests of this version',
  }
}

export function meshIsOff(): ControllerCause<'ReflectorsPlaced'> {
  return {
    ...{ object: CONFIGURATION, reason: 'MeshOff' as const },
    message: 'automatic reflectors take the place of the mesh, and nodeToNodeMeshEnabled is false: there are none',
    remedy: `leave nodeToNodeMeshEnabled true, or take ${BGP_ANNOTATION.autoReflectors} away and join the nodes by BGPPeers`,
  }
}

/** Between several ASes nodes pass routes on with their own address as next hop: packets would take the way over reflectors. */
export function asNumbersProblem(
  nodes: readonly MeshNode[],
  object: Resource<'BGPConfiguration'> | undefined,
): ControllerCause<'ReflectorsPlaced'> | undefined {
  const label = object?.metadata.annotations?.[BGP_ANNOTATION.asNumberLabel]
  const all = new Set(nodes.map(node => node.asNumber || (label && node.labels[label]) || ''))
  // one of them is the cluster's
  all.delete(String(object?.spec.asNumber ?? ''))
  if (all.size < 2) return undefined
  return {
    ...{ object: CONFIGURATION, reason: 'SeveralAsNumbers' },
    message: 'the nodes of the mesh have several AS numbers: there are no automatic reflectors, which are for one AS',
    remedy: `give all nodes one AS number (${NODE_ANNOTATION.asNumber}), or take ${BGP_ANNOTATION.autoReflectors} away`,
  }
}

export function tooFewNodes(): ControllerCause<'ReflectorsPlaced'> {
  return {
    reason: 'TooFewNodes',
    message: 'fewer than two nodes can reflect: each node has sessions with all others',
    remedy: 'look at the Nodes: those can that are Ready, not cordoned, not drained and whose agents write receipts',
  }
}

export function nodesBehind(nodes: readonly string[]): ControllerCause<'ReflectorsPlaced'> {
  const more = nodes.length > MOST_NAMED ? ` and ${nodes.length - MOST_NAMED} more` : ''
  return {
    reason: 'NodesBehind',
    message: `the next move waits for nodes that have not said that they lose no route by it: ${nodes.slice(0, MOST_NAMED).join(', ')}${more}`,
    remedy:
      'look at the agents of these nodes: whether they run, reach the API server, and their BGP sessions; delete the Nodes that are gone',
  }
}
