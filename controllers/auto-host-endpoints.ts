// The HostEndpoints that Nodes have by the KubeControllersConfiguration, as Calico's kube-controllers make them: one for all
// interfaces of a node, and one for each template that takes it. Pure, and the same for any order of Nodes. Hazard: two of them can
// have one name (template x of node n1 and the default one of node n1-x are both n1-x-auto-hep): the default one has it, then the first.
import { createHash } from 'node:crypto'
import { NODE_ANNOTATION } from '../api/core.ts'
import type { Resource } from '../api/kinds.ts'
import { matchesSelector } from '../api/selector.ts'
import { contains, parseAddress, parseCidr } from '../lib/ip.ts'

type HostEndpoint = Resource<'HostEndpoint'>
type Configuration = NonNullable<
  NonNullable<Resource<'KubeControllersConfiguration'>['spec']['controllers']['node']>['hostEndpoint']
>
type Template = Configuration['templates'][number]

/** Who made a HostEndpoint: Calico's label, so that a cluster keeps its objects when either program takes over. */
export const CREATED_BY = { label: 'projectcalico.org/created-by', value: 'calico-kube-controllers' }

/** Where no policy selects the node, its traffic passes. */
const PROFILES = ['projectcalico-default-allow']
const SUFFIX = 'auto-hep'
const MOST_NAME = 253
/** Whose traffic is whose: the addresses that a node says are its own. */
const ADDRESSES = [
  NODE_ANNOTATION.ipv4Address,
  NODE_ANNOTATION.ipv6Address,
  NODE_ANNOTATION.ipipTunnelAddress,
  NODE_ANNOTATION.vxlanTunnelAddress,
  NODE_ANNOTATION.vxlanTunnelAddressV6,
]

/** What a HostEndpoint is made of: heartbeats of a Node change none of it. */
export const NODE_FIELDS = {
  metadata: { name: true, labels: true, annotations: Object.fromEntries(ADDRESSES.map(name => [name, true as const])) },
  status: { addresses: true },
} as const

/** Everything that counts of the configuration. */
export type HostEndpointSettings = Pick<Configuration, 'autoCreate' | 'createDefaultHostEndpoint' | 'templates'>

/** What is wanted, by name, and the nodes that have none of a name, since another node or template has it. */
export type WantedHostEndpoints = {
  wanted: ReadonlyMap<string, HostEndpoint>
  clashes: readonly { name: string; node: string }[]
}

export function isAutoHostEndpoint({ metadata }: Pick<HostEndpoint, 'metadata'>): boolean {
  return metadata.labels?.[CREATED_BY.label] === CREATED_BY.value
}

export function wantedHostEndpoints(
  nodes: Iterable<Resource<'Node'>>,
  settings: HostEndpointSettings,
): WantedHostEndpoints {
  const wanted = new Map<string, HostEndpoint>()
  const clashes: { name: string; node: string }[] = []
  if (settings.autoCreate !== 'Enabled') return { wanted, clashes }
  const add = (endpoint: HostEndpoint | undefined, node: string): void => {
    if (endpoint === undefined) return
    const { name } = endpoint.metadata
    if (wanted.has(name)) clashes.push({ name, node })
    else wanted.set(name, endpoint)
  }
  const inOrder = [...nodes].toSorted((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1))
  const facts = inOrder.map(node => ({ node, addresses: addressesOf(node) }))
  if (settings.createDefaultHostEndpoint !== 'Disabled')
    for (const { node, addresses } of facts) add(ofNode(node, addresses), node.metadata.name)
  for (const { node, addresses } of facts)
    for (const template of settings.templates) add(ofTemplate(node, addresses, template), node.metadata.name)
  return { wanted, clashes }
}

function ofNode(node: Resource<'Node'>, expectedIPs: readonly string[]): HostEndpoint {
  return hostEndpoint(node, [SUFFIX], { interfaceName: '*', expectedIPs })
}

/** Undefined where the template does not take the node, or none of its addresses. */
function ofTemplate(
  node: Resource<'Node'>,
  addresses: readonly string[],
  template: Template,
): HostEndpoint | undefined {
  // no node says which interfaces it has
  if ((template.interfacePattern ?? '') !== '') return undefined
  if (!matchesSelector(template.nodeSelector, node.metadata.labels ?? {})) return undefined
  const ranges = template.interfaceCIDRs.filter(range => range.includes('/'))
  const single = template.interfaceCIDRs.map(parseAddress)
  const expectedIPs = addresses.filter(each => single.includes(each) || ranges.some(range => contains(range, each)))
  if (expectedIPs.length === 0) return undefined
  const { generateName = '' } = template
  return hostEndpoint(node, [...(generateName === '' ? [] : [generateName]), SUFFIX], { expectedIPs }, template)
}

function hostEndpoint(
  { metadata: { name: node, labels = {} } }: Resource<'Node'>,
  parts: readonly string[],
  spec: { interfaceName?: string; expectedIPs: readonly string[] },
  { labels: own = {}, annotations = {} }: Partial<Template> = {},
): HostEndpoint {
  const all = { ...labels, ...own, [CREATED_BY.label]: CREATED_BY.value }
  const metadata = { name: nameOf(`${node}-${parts.join('-')}`), labels: all, annotations }
  return { metadata, spec: { node, ...spec, profiles: PROFILES } } as HostEndpoint
}

/** A name that is too long for an object becomes its digest, as in Calico. */
function nameOf(text: string): string {
  if (text.length <= MOST_NAME) return text
  const digest = createHash('sha256').update(text).digest('base64url').replaceAll(/[-_]/g, '')
  return `${digest}-${SUFFIX}`.toLowerCase()
}

/** In canonical form, each once: what its agent says of it, then the InternalIPs of its kubelet. Others' addresses lead to it by NAT. */
function addressesOf({ metadata, status }: Resource<'Node'>): string[] {
  const annotated = ADDRESSES.map(name => metadata.annotations?.[name] ?? '')
  const internal = (status?.addresses ?? []).filter(({ type }) => type === 'InternalIP').map(({ address }) => address)
  const all = [...annotated, ...internal].map(addressIn)
  return [...new Set(all)].filter(each => each !== undefined)
}

/** Of an address, or of one with the length of its network; undefined when it is neither. */
function addressIn(text: string): string | undefined {
  const [address = ''] = text.split('/')
  return text.includes('/') && parseCidr(text) === undefined ? undefined : parseAddress(address)
}
