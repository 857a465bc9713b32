// Small topologies for tests.
import type { Router, Topology } from '../../../agent/simulation/topology.ts'
import { NODE_ANNOTATION } from '../../../api/core.ts'
import type { Kind, Resource } from '../../../api/kinds.ts'
import { aNode, aPool, aResource } from '../../datastore/objects.ts'

export type Objects = Partial<Record<Kind, readonly object[]>>

export function aTopology(objects: Objects, routers: readonly Router[] = []): Topology {
  return { all: <K extends Kind>(kind: K) => (objects[kind] ?? []) as readonly Resource<K>[], routers }
}

/** `address`: with its mask. */
export function nodeAt(
  name: string,
  address: string,
  {
    labels = {},
    clusterId,
    ...annotations
  }: { labels?: object; clusterId?: string; [annotation: string]: unknown } = {},
): Resource<'Node'> {
  const reflects = clusterId === undefined ? {} : { [NODE_ANNOTATION.routeReflectorClusterId]: clusterId }
  return aNode(name, { labels, annotations: { [NODE_ANNOTATION.ipv4Address]: address, ...reflects, ...annotations } })
}

export function aRouter(name: string, more: Partial<Router> & Pick<Router, 'asNumber' | 'addresses'>): Router {
  return { name, routerId: more.addresses[0]!.split('/')[0]!, networks: [], neighbors: [], ...more }
}

export const pool = (spec: object = {}) => aPool('p', { cidr: '10.244.0.0/16', ipipMode: 'CrossSubnet', ...spec })
export const noMesh = (annotations: object = {}) =>
  aResource('BGPConfiguration', { metadata: { name: 'default', annotations }, spec: { nodeToNodeMeshEnabled: false } })
export const aPeer = (name: string, spec: object) => aResource('BGPPeer', { metadata: { name }, spec })

/** Two racks of two nodes with an AS each, two top-of-rack routers in each, and a spine: the AS of each rack is let in again. */
export function dualTor({ allow = 1 }: { allow?: number } = {}): Topology {
  const racks = ['a', 'b']
  const subnet = (r: number) => `192.0.${r + 2}`
  const nodes = racks.flatMap((rack, r) =>
    [1, 2].map(n => nodeAt(`${rack}${n}`, `${subnet(r)}.${10 + n}/24`, { labels: { rack, as: String(65001 + r) } })),
  )
  const peers = racks.flatMap((rack, r) =>
    [1, 2].map(t =>
      aPeer(`tor-${rack}${t}`, {
        ...{ nodeSelector: `rack == '${rack}'`, peerIP: `${subnet(r)}.${t}`, asNumber: 65101 + r },
        ...(allow > 0 && { numAllowedLocalASNumbers: allow }),
      }),
    ),
  )
  const links = racks.flatMap((rack, r) => [1, 2].map(t => ({ rack, r, t, up: `10.0.0.${4 * r + 2 * t}` })))
  const tors = links.map(({ rack, r, t, up }) =>
    aRouter(`tor-${rack}${t}`, {
      asNumber: 65101 + r,
      addresses: [`${subnet(r)}.${t}/24`, `${up.replace(/\d+$/, last => String(Number(last) + 1))}/31`],
      neighbors: [
        { range: `${subnet(r)}.0/24`, asNumber: 'external' },
        { address: up, asNumber: 65200 },
      ],
    }),
  )
  const spine = aRouter('spine', {
    asNumber: 65200,
    addresses: links.map(({ up }) => `${up}/31`),
    neighbors: links.map(({ r, up }) => ({
      address: up.replace(/\d+$/, last => String(Number(last) + 1)),
      asNumber: 65101 + r,
    })),
  })
  const config = noMesh({ 'margay.io/ASNumberLabel': 'as' })
  const objects = { Node: nodes, BGPPeer: peers, BGPConfiguration: [config], IPPool: [pool({ ipipMode: 'Never' })] }
  return aTopology(objects, [...tors, spine])
}

/** Two nodes at the ends of layers of routers, each of which has a link and a session with all of the next layer: `width ** layers` equal ways. */
export function clos(layers: number, width: number): Topology {
  const all = Array.from({ length: layers }, (_, layer) => Array.from({ length: width }, (_, i) => ({ layer, i })))
  const asOf = (layer: number, i: number) => 65100 + layer * width + i
  /** The end of a link between a router and one of the layer above it. */
  const place = (layer: number, low: number, high: number, end: 0 | 1) => `10.${layer}.${low}.${2 * high + end}`
  const nodes = { 0: '192.0.2', [layers - 1]: '198.51.100' }
  const routers = all.flat().map(({ layer, i }) => {
    const near = nodes[layer]
    const links = Array.from({ length: width }, (_, other) => [
      ...(layer + 1 < layers
        ? [[layer + 1, other, place(layer, i, other, 0), place(layer, i, other, 1)] as const]
        : []),
      ...(layer > 0 ? [[layer - 1, other, place(layer - 1, other, i, 1), place(layer - 1, other, i, 0)] as const] : []),
    ]).flat()
    return aRouter(`r${layer}-${i}`, {
      asNumber: asOf(layer, i),
      addresses: [...(near === undefined ? [] : [`${near}.${1 + i}/24`]), ...links.map(([, , own]) => `${own}/31`)],
      neighbors: [
        ...(near === undefined ? [] : [{ range: `${near}.0/24`, asNumber: 'external' as const }]),
        ...links.map(([far, other, , address]) => ({ address, asNumber: asOf(far, other) })),
      ],
    })
  })
  const ends = Object.entries(nodes).map(([layer, subnet]) => ({ layer: Number(layer), subnet, name: `n${layer}` }))
  return aTopology(
    {
      Node: ends.map(({ name, subnet, layer }) =>
        nodeAt(name, `${subnet}.11/24`, { labels: { name, as: String(65001 + layer) } }),
      ),
      BGPConfiguration: [noMesh({ 'margay.io/ASNumberLabel': 'as' })],
      BGPPeer: ends.flatMap(({ name, subnet, layer }) =>
        all[layer]!.map(({ i }) =>
          aPeer(`${name}-${i}`, {
            ...{ nodeSelector: `name == '${name}'`, peerIP: `${subnet}.${1 + i}`, asNumber: asOf(layer, i) },
          }),
        ),
      ),
      IPPool: [pool({ ipipMode: 'Never' })],
    },
    routers,
  )
}
