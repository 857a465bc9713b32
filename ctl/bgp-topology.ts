// The file of `bgp simulate`: the objects of a cluster as manifests have them, and routers outside of it, a kind that only this
// command reads.
import * as z from 'zod'
import { maskedAddresses } from '../agent/cluster/nodes.ts'
import { type Router, SIMULATED_KINDS, type Topology } from '../agent/simulation/topology.ts'
import { placeOf } from '../agent/simulation/underlay.ts'
import type { Kind, Resource } from '../api/kinds.ts'
import { isObject } from '../api/merge-patch.ts'
import { familyOf, parseAddress, parseCidr } from '../lib/ip.ts'
import type { Source } from './command.ts'
import { UsageError } from './failure.ts'
import { parseManifest } from './manifest.ts'

/** The API group of what no server has. */
const ROUTER_VERSION = 'simulation.margay.io/v1'

const address = z.string().transform((text, check) => {
  const read = parseAddress(text)
  if (read !== undefined) return read
  check.addIssue({ code: 'custom', message: 'is no IP address' })
  return z.NEVER
})
const masked = z
  .string()
  .refine(
    text => text.includes('/') && parseCidr(text) !== undefined,
    'is no address with a mask, such as 192.0.2.1/24',
  )
const network = z.string().transform((text, check) => {
  const read = parseCidr(text)
  if (read !== undefined) return `${read.address}/${read.length}`
  check.addIssue({ code: 'custom', message: 'is no CIDR' })
  return z.NEVER
})
const dottedQuad = address.refine(text => familyOf(text) === 'ipv4', 'is no dotted quad, such as 192.0.2.1')
const port = z.int().min(1).max(65535)
const asNumber = z.int().min(1).max(4294967295)

const neighbor = z
  .strictObject({
    address: address.optional(),
    range: network.optional(),
    port: port.optional(),
    asNumber: z.union([asNumber, z.literal('external'), z.literal('internal')]),
    passive: z.boolean().optional(),
    reflectorClient: z.boolean().optional(),
    nextHopSelf: z.boolean().optional(),
    multihop: z.int().min(1).max(255).optional(),
    password: z.strictObject({ secretKeyRef: z.strictObject({ name: z.string(), key: z.string() }) }).optional(),
  })
  .refine(each => (each.address === undefined) !== (each.range === undefined), 'has either an address or a range')

const router = z.strictObject({
  apiVersion: z.literal(ROUTER_VERSION),
  kind: z.literal('Router'),
  metadata: z.looseObject({ name: z.string().min(1) }),
  spec: z.strictObject({
    asNumber,
    addresses: z.array(masked).min(1),
    routerID: dottedQuad.optional(),
    clusterID: dottedQuad.optional(),
    listenPort: port.optional(),
    networks: z.array(network).default([]),
    neighbors: z.array(neighbor).default([]),
  }),
})

/** `passedOver`: how many objects there are of each kind that no route depends on. */
export type ReadTopology = { topology: Topology; passedOver: ReadonlyMap<string, number> }

/** Throws UsageError that names the file, and what is wrong. */
export function topologyOf(sources: readonly Source[], namespace: string): ReadTopology {
  const routers: Router[] = []
  const objects = new Map<Kind, Map<string, Resource<Kind>>>()
  const passedOver = new Map<string, number>()
  for (const { name, text } of sources) {
    const items = parseManifest(text, name, namespace, document => {
      if (isRouter(document)) routers.push(routerOf(document, name))
      else if (isOfCluster(document)) return false
      else count(passedOver, kindOf(document))
      return true
    })
    for (const { kind, object } of items)
      objects.set(kind, (objects.get(kind) ?? new Map()).set(object.metadata.name, object))
  }
  const byKind = new Map([...objects].map(([kind, named]) => [kind, [...named.values()]]))
  const topology: Topology = {
    routers,
    all: <K extends Kind>(kind: K) => (byKind.get(kind) ?? []) as unknown as readonly Resource<K>[],
  }
  const names = [...topology.all('Node').map(({ metadata }) => metadata.name), ...routers.map(each => each.name)]
  const twice = names.find((name, i) => names.indexOf(name) !== i)
  if (twice !== undefined) throw new UsageError(`two machines are called ${twice}: give each a name of its own`)
  refuseClashes(topology)
  if (topology.all('Node').length === 0)
    throw new UsageError('the topology has no Node: put the output of get nodes -o yaml into it')
  return { topology, passedOver }
}

/** Of two Nodes with one address the agents tell themselves. */
function refuseClashes({ all, routers }: Topology): void {
  const owners = new Map<string, string>()
  for (const node of all('Node'))
    for (const each of maskedAddresses(node))
      if (each !== undefined) owners.set(placeOf(each).address, node.metadata.name)
  for (const { name, addresses } of routers)
    for (const { address } of addresses.map(placeOf)) {
      const other = owners.get(address)
      if (other !== undefined)
        throw new UsageError(`${other} and Router ${name} both have ${address}: give each its own`)
      owners.set(address, name)
    }
}

function kindOf(document: unknown): string {
  return isObject(document) ? String(document['kind']) : ''
}

/** What is no object is left to the reader of manifests, which says so. */
function isOfCluster(document: unknown): boolean {
  return !isObject(document) || (SIMULATED_KINDS as readonly string[]).includes(kindOf(document))
}

function nameOf(document: unknown): string {
  const metadata = isObject(document) ? document['metadata'] : undefined
  return isObject(metadata) ? String(metadata['name']) : ''
}

function count(counts: Map<string, number>, kind: string): void {
  counts.set(kind, (counts.get(kind) ?? 0) + 1)
}

function isRouter(document: unknown): boolean {
  return isObject(document) && document['apiVersion'] === ROUTER_VERSION
}

function routerOf(document: unknown, source: string): Router {
  const where = `${source}: Router ${nameOf(document)}`
  const read = router.safeParse(document)
  if (!read.success) {
    const faults = read.error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`)
    throw new UsageError(`${where}: ${faults.join('; ')}`)
  }
  const { metadata, spec } = read.data
  const { routerID, clusterID, neighbors, addresses, ...others } = spec
  const first = addresses.map(each => each.split('/')[0]!).find(each => familyOf(each) === 'ipv4')
  if (routerID === undefined && first === undefined)
    throw new UsageError(`${where} has no IPv4 address: give it a routerID`)
  return {
    ...{ ...others, addresses, name: metadata.name, routerId: routerID ?? first! },
    ...(clusterID !== undefined && { clusterId: clusterID }),
    neighbors: neighbors.map(({ password, ...each }) => ({
      ...each,
      ...(password && { password: password.secretKeyRef }),
    })),
  }
}
