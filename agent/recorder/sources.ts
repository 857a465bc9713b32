// What the recorder keeps of pods, blocks, learned routes and objects of the cluster. Of an object it keeps its name and the names of
// the fields that changed: what is in them, annotations above all, may be anything.
import { isDeepStrictEqual } from 'node:util'
import type { ChangeType } from '../../api/changes.ts'
import type { Kind, Resource } from '../../api/kinds.ts'
import { isObject } from '../../api/merge-patch.ts'
import { RECEIPT_KINDS } from '../../api/policy-receipts.ts'
import type { EndpointStore, PodEndpoint } from '../../cni/endpoints.ts'
import type { Caches } from '../../datastore/cache.ts'
import type { LearnedRoute } from '../../felix/input.ts'
import type { NodeAllocator } from '../../ipam/allocator.ts'
import type { Cancel } from '../../lib/clock.ts'
import type { Recorder } from './recorder.ts'

/** What policies are made of. */
const POLICIES: readonly Kind[] = [...RECEIPT_KINDS, 'Tier', 'NetworkSet', 'GlobalNetworkSet', 'HostEndpoint']
/** Those that change with each pod or Service of the cluster are not told. */
const OTHERS: readonly Kind[] = [
  ...(['IPPool', 'IPReservation', 'IPAMConfiguration', 'BGPConfiguration', 'BGPPeer', 'BGPFilter'] as const),
  ...(['FelixConfiguration', 'ClusterInformation', 'Node'] as const),
]
/** Names of fields that one record tells. */
const MOST_FIELDS = 8

export type RecordedParts = {
  recorder: Pick<Recorder, 'note'>
  endpoints: Pick<EndpointStore, 'live' | 'onChange'>
  allocator: Pick<NodeAllocator, 'blocks' | 'borrowed' | 'lentTo' | 'onBlocks'>
  caches: Pick<Caches, 'asked' | 'of'>
}

/** Keeps what changes from now on. Call it when the last run's objects were handed out: they are no news. */
export function recordChanges(parts: RecordedParts): Cancel {
  const cancels = [recordPods(parts), recordBlocks(parts), ...recordObjects(parts)]
  return () => {
    for (const cancel of cancels) cancel()
  }
}

/** Keeps what BGP has for a prefix. */
export function noteLearned(recorder: Pick<Recorder, 'note'>, prefix: string, route: LearnedRoute | undefined): void {
  recorder.note(route === undefined ? 'Withdrawn' : 'Learned', 'Route', 'learned', () => {
    const paths = route && (route.paths ?? [route])
    const hops = paths
      ?.slice(0, MOST_FIELDS)
      .map(({ nextHop, pod }) => (pod === undefined ? nextHop : `${nextHop} on ${pod}`))
    const more = paths !== undefined && paths.length > MOST_FIELDS ? ` and ${paths.length - MOST_FIELDS} more` : ''
    return { name: prefix, ...(hops && { text: `next hop ${hops.join(', ')}${more}` }) }
  })
}

function recordPods({ recorder, endpoints }: RecordedParts): Cancel {
  const known = new Map(endpoints.live().map(endpoint => [endpoint.id, endpointText(endpoint)]))
  return endpoints.onChange(({ type, endpoint }) => {
    const { id } = endpoint
    const text = endpointText(endpoint)
    const before = known.get(id)
    if (type === 'set' && before === text) return
    if (type === 'set') known.set(id, text)
    else known.delete(id)
    const change = type === 'gone' ? 'Went' : before === undefined ? 'Came' : 'Changed'
    recorder.note(change, 'Endpoint', 'pod', () => ({ name: id, text }))
  })
}

function endpointText({ pod, interfaceName, addresses }: PodEndpoint): string {
  const whose = pod === undefined ? '' : `pod ${pod.namespace}/${pod.name}, `
  return `${whose}${interfaceName}, ${addresses.join(', ')}`
}

function recordBlocks({ recorder, allocator }: RecordedParts): Cancel {
  /** What is known of each block, and of each address that was borrowed or lent. */
  const now = () =>
    new Map([
      ...allocator.blocks().map(({ cidr, pool, size }) => [cidr, `of pool ${pool}, ${size} addresses`] as const),
      ...allocator.borrowed().map(cidr => [cidr, 'borrowed'] as const),
      ...[...allocator.lentTo()].map(([cidr, node]) => [cidr, `lent to ${node}`] as const),
    ])
  let known: ReadonlyMap<string, string> = now()
  return allocator.onBlocks(() => {
    const before = known
    known = now()
    const tell = (type: ChangeType, name: string, text: string) =>
      recorder.note(type, 'Block', 'block', () => ({ name, text }))
    for (const [name, text] of known) {
      const old = before.get(name)
      if (old !== text) tell(old === undefined ? 'Came' : 'Changed', name, text)
    }
    for (const [name, text] of before) if (!known.has(name)) tell('Went', name, text)
  })
}

function recordObjects({ recorder, caches }: RecordedParts): Cancel[] {
  return [...POLICIES, ...OTHERS]
    .filter(kind => caches.asked(kind))
    .map(kind =>
      caches.of(kind).onChange(({ before, after }) => {
        const type = before === undefined ? 'Came' : after === undefined ? 'Went' : 'Changed'
        recorder.note(type, kind, POLICIES.includes(kind) ? 'policy' : 'cluster', () => {
          const { name, namespace } = (after ?? before)!.metadata
          const text = before && after && changedFields(before, after)
          return { name, ...(namespace !== undefined && { namespace }), ...(text && { text }) }
        })
      }),
    )
}

/** `spec.order, metadata.labels`: never what is in them. */
function changedFields(before: Resource<Kind>, after: Resource<Kind>): string {
  const fields = [...new Set([...pathsOf(before), ...pathsOf(after)])]
  const changed = fields.filter(
    path => path !== 'metadata.resourceVersion' && !isDeepStrictEqual(valueAt(before, path), valueAt(after, path)),
  )
  const more = changed.length > MOST_FIELDS ? ` and ${changed.length - MOST_FIELDS} more` : ''
  return `${changed.slice(0, MOST_FIELDS).join(', ')}${more}`
}

function pathsOf(object: object): string[] {
  return Object.entries(object).flatMap(([part, value]) =>
    isObject(value) ? Object.keys(value).map(field => `${part}.${field}`) : [part],
  )
}

function valueAt(object: object, path: string): unknown {
  const [part = '', field = ''] = path.split('.', 2)
  const value: unknown = (object as Record<string, unknown>)[part]
  return isObject(value) ? value[field] : value
}
