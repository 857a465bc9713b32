// What the client wants to read, from its Accept header: plain JSON, a server-side table, the metadata alone, or
// aggregated discovery.
import type { AggregatedVersion } from './discovery.ts'

export type Accepted =
  | { json: true }
  | { table: string }
  | { metadata: string }
  | { discovery: AggregatedVersion }
  | { other: string }

/** Of an object and of a list: the server tells by the request which one it sends, as Kubernetes does. */
const METADATA_FORMS = ['partialobjectmetadata', 'partialobjectmetadatalist']
const VERSIONS = ['v1', 'v1beta1']

/** The media ranges of an Accept header as ours, in the client's order; no header accepts JSON. */
export function acceptedOf(header: string | undefined): Accepted[] {
  const ranges = (header ?? '*/*').split(',').map(range => range.trim().toLowerCase())
  return ranges.map(range => {
    const [type = '', ...parameters] = range.split(';').map(part => part.trim())
    const of = new Map(parameters.map(p => p.split('=') as [string, string]))
    if (type === 'application/json' && of.get('as') === 'table' && of.get('g') === 'meta.k8s.io')
      return { table: of.get('v') ?? 'v1' }
    const version = of.get('v')
    if (type === 'application/json' && METADATA_FORMS.includes(of.get('as') ?? '') && of.get('g') === 'meta.k8s.io')
      return { metadata: version ?? 'v1' }
    if (type === 'application/json' && of.get('as') === 'apigroupdiscoverylist')
      return version === 'v2' || version === 'v2beta1' ? { discovery: version } : { other: range }
    // another projection of an object is not plain JSON: the client would misread it
    if (of.has('as')) return { other: range }
    return ['application/json', 'application/*', '*/*'].includes(type) ? { json: true } : { other: range }
  })
}

/** How objects are sent: whole, as rows of a table, or their metadata alone, both in a version of meta.k8s.io. */
export type Form = { whole: true } | { table: string } | { metadata: string }

/** What the client would rather have of what is offered; undefined when that is nothing it takes. */
export function formOf(accepted: readonly Accepted[]): Form | undefined {
  for (const each of accepted) {
    if ('json' in each) return { whole: true }
    if ('table' in each && VERSIONS.includes(each.table)) return each
    if ('metadata' in each && VERSIONS.includes(each.metadata)) return each
  }
  return undefined
}

/** The aggregated discovery to answer with, when the client asked for it before plain JSON. */
export function aggregatedVersion(accepted: readonly Accepted[]): AggregatedVersion | undefined {
  const first = accepted.find(a => 'json' in a || 'discovery' in a)
  return first !== undefined && 'discovery' in first ? first.discovery : undefined
}
