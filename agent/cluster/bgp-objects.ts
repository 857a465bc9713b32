// A node's sessions from all objects of a cluster at once. Pure.
import type { Resource } from '../../api/kinds.ts'
import { parseReflectors, REFLECTORS_ANNOTATION, type ReflectorState } from '../../api/reflectors.ts'
import { nodeOfConfiguration } from '../../api/unsupported.ts'
import { type AskedBfd, askedBfd } from './bfd.ts'
import { askedAsLabel } from './node-as.ts'
import type { NodeFacts } from './nodes.ts'
import { Peers } from './peers.ts'
import { type BgpSettings, bgpSettings } from './settings.ts'
import { type AskedAo, askedAo } from './tcp-ao.ts'

export type BgpKind = 'BGPPeer' | 'BGPFilter' | 'BGPConfiguration' | 'ClusterInformation'

export type BgpObjects = { all<K extends BgpKind>(kind: K): readonly Resource<K>[] }

/** What a node asks for with these objects; later changes are told to it one by one. */
export function peersOf(
  of: { nodeName: string } & Pick<NodeFacts, 'address' | 'ipv6Address'>,
  nodes: Iterable<NodeFacts>,
  objects: BgpObjects,
): Peers {
  const configurations = objects.all('BGPConfiguration')
  const reflectors = reflectorsOf(objects.all('ClusterInformation').find(isDefault))
  const peers = new Peers({ ...of, ...meshOf(configurations.find(isDefault)), reflectors })
  for (const facts of nodes) peers.node(facts.name, facts)
  for (const object of objects.all('BGPFilter')) peers.filter(object.metadata.name, object)
  for (const object of objects.all('BGPPeer')) peers.bgpPeer(object.metadata.name, object)
  for (const { metadata, spec } of configurations) {
    const node = nodeOfConfiguration(metadata.name)
    if (node !== undefined) peers.listenPort(node, spec.listenPort)
  }
  return peers
}

/** What the object `default` says of automatic reflectors. */
export function reflectorsOf(object: Resource<'ClusterInformation'> | undefined): ReflectorState | undefined {
  return parseReflectors(object?.metadata.annotations?.[REFLECTORS_ANNOTATION])
}

/** What the object `default` says of the mesh, and of AS numbers. */
export function meshOf(object: Resource<'BGPConfiguration'> | undefined): {
  config: BgpSettings
  bfd: AskedBfd
  ao: AskedAo
  asLabel: string | undefined
} {
  return {
    config: bgpSettings(object),
    bfd: askedBfd(object?.metadata ?? {}),
    ao: askedAo(object?.metadata ?? {}, object?.spec.nodeMeshPassword !== undefined),
    asLabel: askedAsLabel(object?.metadata),
  }
}

function isDefault({ metadata }: { metadata: { name: string } }): boolean {
  return metadata.name === 'default'
}
