// Nodes and BGPPeers as a cluster has them, and what one node makes of them.
import type { AskedBfd } from '../../../agent/cluster/bfd.ts'
import type { PeeringAddresses } from '../../../agent/cluster/local-pods.ts'
import { nodeFacts } from '../../../agent/cluster/nodes.ts'
import type { Password } from '../../../agent/cluster/passwords.ts'
import { Peers } from '../../../agent/cluster/peers.ts'
import { type BgpSettings, bgpSettings } from '../../../agent/cluster/settings.ts'
import type { AskedAo } from '../../../agent/cluster/tcp-ao.ts'
import type { Resource } from '../../../api/kinds.ts'
import type { ReflectorState } from '../../../api/reflectors.ts'
import { aResource } from '../../datastore/objects.ts'

export const aNode = (
  name: string,
  address: string,
  extra: Record<string, string> = {},
  labels: Record<string, string> = {},
) =>
  aResource('Node', {
    metadata: { name, labels, annotations: { 'projectcalico.org/IPv4Address': `${address}/24`, ...extra } },
  })

/** One that has an IPv6 address, and no IPv4 address where none is given. */
export const aNode6 = (name: string, ipv6Address: string, address?: string) =>
  aResource('Node', {
    metadata: {
      name,
      annotations: {
        'projectcalico.org/IPv6Address': `${ipv6Address}/64`,
        ...(address !== undefined && { 'projectcalico.org/IPv4Address': `${address}/24` }),
      },
    },
  })

export const aFilter = (name: string, spec: object) => aResource('BGPFilter', { metadata: { name }, spec })

export const aPeer = (name: string, spec: Record<string, unknown>) => aResource('BGPPeer', { metadata: { name }, spec })

export const settings = (spec: object = {}) =>
  bgpSettings(aResource('BGPConfiguration', { metadata: { name: 'default' }, spec }))

export type World = {
  nodeName: string
  address?: string
  ipv6Address?: string
  config: BgpSettings
  bfd?: AskedBfd
  peering?: PeeringAddresses
  ao?: AskedAo
  reflectors?: ReflectorState | undefined
  /** The ports of nodes that have one of their own. */
  ports?: ReadonlyMap<string, number>
  nodes: readonly Resource<'Node'>[]
  peers: readonly Resource<'BGPPeer'>[]
  filters?: readonly Resource<'BGPFilter'>[]
  /** By the name of the Secret; their keys are all called `k`. */
  passwords?: ReadonlyMap<string, Password>
}

export const world = (change: Partial<World> = {}): World => ({
  nodeName: 'n1',
  address: '192.168.10.9',
  config: settings(),
  nodes: [aNode('n1', '192.168.10.9'), aNode('n2', '192.168.10.10'), aNode('n3', '192.168.20.11')],
  peers: [],
  ...change,
})

/** Tells everything at once. */
export function all(change: Partial<World> = {}) {
  const { nodes, peers: objects, filters = [], ports = [], passwords = [], ...of } = world(change)
  const peers = new Peers(of)
  for (const node of nodes) peers.node(node.metadata.name, nodeFacts(node).facts)
  for (const object of filters) peers.filter(object.metadata.name, object)
  for (const object of objects) peers.bgpPeer(object.metadata.name, object)
  for (const [node, port] of ports) peers.listenPort(node, port)
  for (const [name, password] of passwords) peers.password({ name, key: 'k' }, password)
  const wanted = peers.take().flatMap(({ peer }) => (peer === undefined ? [] : [peer]))
  return { peers, wanted, refused: peers.refused() }
}
