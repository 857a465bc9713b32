// What the client wants to read, from its Accept header: plain JSON, a server-side table, or aggregated discovery.
import type { AggregatedVersion } from './discovery.ts'

export type Accepted = { json: true } | { table: string } | { discovery: AggregatedVersion } | { other: string }

/** The media ranges of an Accept header as ours, in the client's order; no header accepts JSON. */
export function acceptedOf(header: string | undefined): Accepted[] {
  const ranges = (header ?? '*/*').split(',').map(range => range.trim().toLowerCase())
  return ranges.map(range => {
    const [type = '', ...parameters] = range.split(';').map(part => part.trim())
    const of = new Map(parameters.map(p => p.split('=') as [string, string]))
    if (type === 'application/json' && of.get('as') === 'table' && of.get('g') === 'meta.k8s.io')
      return { table: of.get('v') ?? 'v1' }
    const version = of.get('v')
    if (type === 'application/json' && of.get('as') === 'apigroupdiscoverylist')
      return version === 'v2' || version === 'v2beta1' ? { discovery: version } : { other: range }
    // another projection of an object is not plain JSON: the client would misread it
    if (of.has('as')) return { other: range }
    return ['application/json', 'application/*', '*/*'].includes(type) ? { json: true } : { other: range }
  })
}

/** The table version to answer with, when the client would rather have a table than anything else we offer. */
export function tableVersion(accepted: readonly Accepted[]): string | undefined {
  const first = accepted.find(a => 'json' in a || ('table' in a && ['v1', 'v1beta1'].includes(a.table)))
  return first !== undefined && 'table' in first ? first.table : undefined
}

/** The aggregated discovery to answer with, when the client asked for it before plain JSON. */
export function aggregatedVersion(accepted: readonly Accepted[]): AggregatedVersion | undefined {
  const first = accepted.find(a => 'json' in a || 'discovery' in a)
  return first !== undefined && 'discovery' in first ? first.discovery : undefined
}
