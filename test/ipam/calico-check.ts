// What `calicoctl ipam check` counts as a problem (calicoctl/calicoctl/commands/ipam/check.go of projectcalico/calico, and
// validateBlock beside it), over the objects of a datastore: an oracle for what our allocator writes, with nothing of `ipam/` in it.
// One rule is ours: calicoctl asks no Node for its IPv6 tunnel address, and counts it as not in use in Calico's own clusters too; as it
// does that of path probes, which Calico does not know.
// Left out, since nothing here writes them: handles that a block names and that have no IPAMHandle, which calicoctl prints and
// does not count.
// Hazard: blocks are published up to two minutes late, so some rules hold at any time and some only when all is published.
import type { NodeAgent } from '../../agent/node-agent.ts'
import type { Resource } from '../../api/kinds.ts'
import { isStoreError, type Store } from '../../datastore/port.ts'
import { addressAt, addressBits, addressBytes, cidr, contains, formatAddress, overlaps } from '../../lib/ip.ts'

export type CalicoObjects = {
  pools: readonly Resource<'IPPool'>[]
  blocks: readonly Resource<'IPAMBlock'>[]
  handles: readonly Resource<'IPAMHandle'>[]
  nodes: readonly Resource<'Node'>[]
  pods: readonly Resource<'Pod'>[]
  workloads: readonly Resource<'WorkloadEndpoint'>[]
  services: readonly Resource<'Service'>[]
  /** Whether the KubeControllersConfiguration and the ClusterInformation `default` are there. */
  singletons: readonly ('KubeControllersConfiguration' | 'ClusterInformation')[]
}

/** Which rules hold at any time, which when all is published, and which in a whole cluster alone. */
const RULES = {
  /** An allocation and an attribute each without the other; `unallocated` that does not complement the allocations. */
  structure: 'at once',
  /** `releasedAt` of an attribute lies in the future. */
  'released in the future': 'at once',
  /** An IPAMHandle of which no block has an address. */
  'handle without address': 'at once',
  /** Not calicoctl's own, which counts nothing here. A claim across a block of another size is there until it is withdrawn. */
  'shared by two blocks': 'published',
  'allocated and not in use': 'published',
  'in use and not allocated': 'published',
  'in use, in no active pool and not allocated': 'published',
  /** Without it the command ends before it has checked anything. */
  'object missing': 'cluster',
} as const

export type Rule = keyof typeof RULES
export type Problem = { rule: Rule; about: string }
export type Moment = (typeof RULES)[Rule]

/** All that a check looks at. Rejects as the store. */
export async function calicoObjects(store: Pick<Store, 'list'>): Promise<CalicoObjects> {
  const [controllers, information] = [
    await store.list('KubeControllersConfiguration'),
    await store.list('ClusterInformation'),
  ]
  const isThere = (items: readonly { metadata: { name: string } }[]) =>
    items.some(({ metadata }) => metadata.name === 'default')
  return {
    pools: await store.list('IPPool'),
    blocks: await store.list('IPAMBlock'),
    handles: await store.list('IPAMHandle'),
    nodes: await store.list('Node'),
    pods: await store.list('Pod'),
    workloads: await store.list('WorkloadEndpoint'),
    services: await store.list('Service'),
    singletons: [
      ...(isThere(controllers) ? ['KubeControllersConfiguration' as const] : []),
      ...(isThere(information) ? ['ClusterInformation' as const] : []),
    ],
  }
}

/**
 * Every problem of the rules that hold at these moments. `endpoints`: addresses that pods have although no object says so, by who has
 * them: in tests of an allocator or of an agent without Kubernetes there are no Pods. `nowMs`: milliseconds since 1970.
 */
export function calicoProblems(
  objects: CalicoObjects,
  moments: readonly Moment[],
  { nowMs, endpoints = new Map() }: { nowMs: number; endpoints?: ReadonlyMap<string, string> },
): Problem[] {
  const { blocks, handles, singletons } = objects
  const allocated = new Map(blocks.flatMap(allocationsOf))
  const inUse = new Map([...endpoints, ...owners(objects), ...reservedForWindows(blocks)])
  const found: Problem[] = [
    ...blocks.flatMap(block => structure(block, nowMs)),
    ...sharedBlocks(blocks),
    ...[...allocated].flatMap(([address, { handle, isCooling }]) =>
      inUse.has(address) || isCooling ? [] : [problem('allocated and not in use', `${address} (${handle})`)],
    ),
    ...[...inUse].flatMap(([address, by]) =>
      allocated.has(address) ? [] : [problem(unallocatedRule(address, objects), `${address} of ${by}`)],
    ),
    ...handles.flatMap(({ metadata }) =>
      [...allocated.values()].some(({ handle }) => handle.toLowerCase() === metadata.name)
        ? []
        : [problem('handle without address', metadata.name)],
    ),
    ...(['KubeControllersConfiguration', 'ClusterInformation'] as const).flatMap(kind =>
      singletons.includes(kind) ? [] : [problem('object missing', `${kind} default`)],
    ),
  ]
  return found.filter(({ rule }) => moments.includes(RULES[rule]))
}

/** What is wrong with blocks at any time, in words. */
export function blockProblems(blocks: CalicoObjects['blocks'], nowMs: number): string[] {
  const none = { pools: [], handles: [], nodes: [], pods: [], workloads: [], services: [], singletons: [] }
  return calicoProblems({ ...none, blocks }, ['at once'], { nowMs }).map(({ rule, about }) => `${rule}: ${about}`)
}

/**
 * What is wrong in a store in which these nodes have published all, in words: `addresses` has those of their pods, by who has them.
 * What other nodes have is not asked. Rejects as the store.
 */
export async function calicoProblemsOf(
  store: Pick<Store, 'list'>,
  nodes: readonly { name: string; addresses: Iterable<readonly [address: string, by: string]> }[],
  nowMs: number,
): Promise<string[]> {
  const objects = await calicoObjects(store)
  const isAsked = (node: string) => nodes.some(({ name }) => name === node)
  const others = objects.blocks.filter(({ spec }) => !isAsked(spec.affinity?.replace('host:', '') ?? ''))
  const elsewhere = others.flatMap(allocationsOf).map(([address]) => [address, 'another node'] as const)
  const inUse = new Map([...nodes.flatMap(({ addresses }) => [...addresses]), ...elsewhere])
  const theirs = {
    nodes: objects.nodes.filter(({ metadata }) => isAsked(metadata.name)),
    pods: objects.pods.filter(({ spec }) => isAsked(spec.nodeName ?? '')),
    workloads: objects.workloads.filter(({ spec }) => isAsked(spec.node ?? '')),
  }
  const found = calicoProblems({ ...objects, ...theirs }, ['at once', 'published'], { nowMs, endpoints: inUse })
  return found.map(({ rule, about }) => `${rule}: ${about}`)
}

/**
 * Rejects with what `calicoctl ipam check` would find in the blocks of a node when all is published; the Node is told of the addresses
 * of tunnels later, at most six times a minute. Nothing is looked at where a test leaves the API server away or the datastore locked.
 */
export async function checkAgent(
  { allocator, endpoints }: Pick<NodeAgent, 'allocator' | 'endpoints'>,
  node: string,
  store: Pick<Store, 'list'>,
): Promise<void> {
  const deadlineMs = performance.now() + 20_000
  for (let problems: string[] = []; ; ) {
    if (performance.now() > deadlineMs) throw new Error(`${node}: ${problems.join('; ')}`)
    try {
      await allocator.flush()
      const pods = endpoints.live().flatMap(({ id, addresses }) => addresses.map(address => [address, id] as const))
      // of pods and gateways of other plugins calicoctl hears from Pods alone
      const plugins = [...allocator.held()].filter(([handle]) => handle.startsWith('ipam/'))
      const theirs = plugins.flatMap(([handle, held]) => held.map(({ address }) => [address, handle] as const))
      problems = await calicoProblemsOf(store, [{ name: node, addresses: [...pods, ...theirs] }], Date.now())
    } catch (error) {
      if (isStoreError(error)) return
      throw error
    }
    if (problems.length === 0) return
    await new Promise(resolve => setTimeout(resolve, 20))
  }
}

function problem(rule: Rule, about: string): Problem {
  return { rule, about }
}

function structure({ metadata, spec }: Resource<'IPAMBlock'>, nowMs: number): Problem[] {
  const { family, length } = cidr(spec.cidr)
  const size = 2 ** (addressBits(family) - length)
  const indices = spec.allocations.filter(index => index !== null)
  const wrong = (what: string): Problem => problem('structure', `${metadata.name}: ${what}`)
  const isTwice = (ordinal: number, at: number): boolean => spec.unallocated.indexOf(ordinal) !== at
  return [
    ...indices.filter(index => index >= spec.attributes.length).map(index => wrong(`no attribute ${index}`)),
    ...spec.attributes.flatMap((_, index) =>
      indices.includes(index) ? [] : [wrong(`attribute ${index} of no address`)],
    ),
    ...spec.unallocated.flatMap((ordinal, at) => [
      ...(ordinal >= size ? [wrong(`unallocated ${ordinal} of ${size} addresses`)] : []),
      ...(isTwice(ordinal, at) ? [wrong(`unallocated ${ordinal} twice`)] : []),
      ...(typeof spec.allocations[ordinal] === 'number' ? [wrong(`unallocated ${ordinal} is allocated`)] : []),
    ]),
    ...(spec.unallocated.length + indices.length === size
      ? []
      : [wrong(`${spec.unallocated.length} unallocated and ${indices.length} allocated of ${size} addresses`)]),
    ...spec.attributes.flatMap(({ releasedAt }) =>
      typeof releasedAt === 'string' && Date.parse(releasedAt) > nowMs
        ? [problem('released in the future', `${metadata.name}: ${releasedAt}`)]
        : [],
    ),
  ]
}

type Allocation = { handle: string; isCooling: boolean }

/** The allocated addresses of a block. One that cools down is nobody's, and stays allocated until then. */
function allocationsOf({ spec }: Resource<'IPAMBlock'>): [address: string, allocation: Allocation][] {
  return spec.allocations.flatMap((index, ordinal) => {
    if (index === null) return []
    const { handle_id = '', releasedAt } = spec.attributes[index] ?? {}
    return [[addressAt(spec.cidr, ordinal), { handle: handle_id, isCooling: releasedAt !== undefined }]]
  })
}

function sharedBlocks(blocks: CalicoObjects['blocks']): Problem[] {
  return blocks.flatMap((one, i) =>
    blocks
      .slice(i + 1)
      .filter(other => overlaps(one.spec.cidr, other.spec.cidr))
      .map(other => problem('shared by two blocks', `${one.metadata.name} and ${other.metadata.name}`)),
  )
}

/** A pool that is disabled is not active. */
function unallocatedRule(address: string, { pools }: CalicoObjects): Rule {
  const isActive = pools.some(({ spec }) => !spec.disabled && contains(spec.cidr, address))
  return isActive ? 'in use and not allocated' : 'in use, in no active pool and not allocated'
}

const TUNNELS = ['IPv4VXLANTunnelAddr', 'IPv6VXLANTunnelAddr', 'IPv4WireguardInterfaceAddr', 'IPv4IPIPTunnelAddr']
const OF_NODES = [
  ...TUNNELS.map(tunnel => `projectcalico.org/${tunnel}`),
  'margay.io/ProbeAddress',
  'margay.io/ProbeAddressV6',
]

/** Whose addresses are by the objects of nodes, workloads and Services. */
function owners({ nodes, pods, workloads, services }: CalicoObjects): [address: string, owner: string][] {
  const ofNodes = nodes.flatMap(({ metadata: { name, annotations } }) =>
    OF_NODES.flatMap(annotation => annotations?.[annotation] ?? []).map(text => [text, `Node ${name}`]),
  )
  const ofPods = pods.flatMap(pod => podAddresses(pod).map(text => [text, `Pod ${pod.metadata.name}`]))
  const ofWorkloads = workloads.flatMap(({ metadata, spec }) =>
    (spec.ipNetworks ?? []).map(text => [text, `WorkloadEndpoint ${metadata.name}`]),
  )
  // IsCalicoManagedLoadBalancer, of those with a class
  const ofServices = services
    .filter(({ spec }) => ['margay', 'calico'].includes(spec.loadBalancerClass ?? ''))
    .flatMap(({ metadata, status }) =>
      (status?.loadBalancer?.ingress ?? []).map(({ ip }) => [ip!, `Service ${metadata.name}`]),
    )
  return [...ofNodes, ...ofPods, ...ofWorkloads, ...ofServices].map(([text, owner]) => [bare(text!), owner!])
}

/** The addresses of the WorkloadEndpoint that Calico makes of a Pod: none on the host's network, before it has a node, after its end. */
function podAddresses({ metadata, spec, status }: Resource<'Pod'>): string[] {
  const noted = metadata.annotations ?? {}
  const isFinished =
    ['Succeeded', 'Failed'].includes(status?.phase ?? '') ||
    (metadata.deletionTimestamp !== undefined && noted['cni.projectcalico.org/podIP'] === '')
  if (isFinished || spec.hostNetwork === true || !spec.nodeName) return []
  const told = status?.podIPs?.map(({ ip }) => ip) ?? []
  if (told.length > 0) return told
  if (status?.podIP) return [status.podIP]
  const texts = noted['cni.projectcalico.org/podIPs'] || noted['cni.projectcalico.org/podIP'] || ''
  return texts.split(',').filter(text => text !== '')
}

function reservedForWindows(blocks: CalicoObjects['blocks']): [address: string, owner: string][] {
  return blocks
    .flatMap(allocationsOf)
    .filter(([, { handle }]) => handle === 'windows-reserved-ipam-handle')
    .map(([address]) => [address, 'Windows'])
}

function bare(text: string): string {
  return formatAddress(addressBytes(text.split('/')[0]!))
}
