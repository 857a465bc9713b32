// Whether a list of the API server can follow on what was known before. A server that was restored from nothing, one of
// another cluster and half a list all lose what a running cluster does not lose at once. Pure.
import type { Kind, Resource } from '../api/kinds.ts'

/** Kinds whose objects lead to other nodes and routers. */
const PEER_KINDS: readonly Kind[] = ['Node', 'BGPPeer']

/** Fewer lost peers than this are no reason to doubt: one node or router may have been removed. */
const FEW_LOST = 2

/** Why `after` is not believed; undefined when it is. `self`: the name of this node's Node object. */
export function implausible(
  kind: Kind,
  { before, after, self }: { before: Iterable<Resource<Kind>>; after: Iterable<Resource<Kind>>; self?: string },
): string | undefined {
  const known = namesOf(before)
  const listed = namesOf(after)
  const lost = known.difference(listed).size
  if (lost === 0) return undefined
  if (kind === 'Node' && self !== undefined && known.has(self) && !listed.has(self))
    return `its list of nodes lacks this node, ${self}`
  if (kind === 'IPPool' && listed.size === 0) return `its list of IPPools is empty, and there were ${known.size}`
  if (PEER_KINDS.includes(kind) && lost >= FEW_LOST && lost * 2 > known.size)
    return `its list of ${kind}s lacks ${lost} of ${known.size}`
  return undefined
}

function namesOf(objects: Iterable<Resource<Kind>>): Set<string> {
  return new Set(Iterator.from(objects).map(({ metadata }) => metadata.name))
}
