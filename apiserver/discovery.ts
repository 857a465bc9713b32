// What a client asks before it asks anything: which groups, versions and resources there are, in the old form and in
// the aggregated one (apidiscovery.k8s.io). All of it is computed from the table of kinds.

import { apiVersion, type Kind, type KindRow, kindName, kinds } from '../api/kinds.ts'
import { emptyAggregatedRows, emptyResources } from './empty-kinds.ts'

export type AggregatedVersion = 'v2' | 'v2beta1'

const VERBS = ['create', 'delete', 'deletecollection', 'get', 'list', 'patch', 'update', 'watch']
const STATUS_VERBS = ['get', 'patch', 'update']
const CORE = ''
/** What `kubectl get all` means. */
const CATEGORIES: Partial<Record<Kind, readonly string[]>> = { Pod: ['all'], Service: ['all'] }

const rows = Object.entries(kinds) as [Kind, KindRow][]
const groups = [...new Set(rows.map(([, { group }]) => group))].filter(group => group !== CORE)

function versionsOf(group: string): string[] {
  return [...new Set(rows.filter(([, row]) => row.group === group).map(([, row]) => row.version))]
}

function rowsOf(group: string, version: string): [Kind, KindRow][] {
  return rows.filter(([, row]) => row.group === group && row.version === version)
}

/** The answer for a discovery path, or undefined when it is none. */
export function discover(path: string, aggregated: AggregatedVersion | undefined): object | undefined {
  const [root, group, version, ...more] = path.split('/').filter(part => part !== '')
  if (more.length > 0) return undefined
  if (root === 'api') {
    if (version !== undefined) return undefined
    if (group !== undefined) return versionsOf(CORE).includes(group) ? resourceList(CORE, group) : undefined
    if (aggregated !== undefined) return aggregatedList([CORE], aggregated)
    return { kind: 'APIVersions', versions: versionsOf(CORE), serverAddressByClientCIDRs: [] }
  }
  if (root !== 'apis') return undefined
  if (group === undefined)
    return aggregated !== undefined
      ? aggregatedList(groups, aggregated)
      : { kind: 'APIGroupList', apiVersion: 'v1', groups: groups.map(groupOf) }
  if (!groups.includes(group)) return undefined
  if (version === undefined) return { kind: 'APIGroup', apiVersion: 'v1', ...groupOf(group) }
  return versionsOf(group).includes(version) ? resourceList(group, version) : undefined
}

function groupOf(group: string): { name: string; versions: object[]; preferredVersion: object } {
  const versions = versionsOf(group).map(version => ({ groupVersion: apiVersion({ group, version }), version }))
  return { name: group, versions, preferredVersion: versions[0]! }
}

function resourceList(group: string, version: string): object {
  const resources = rowsOf(group, version).flatMap(([kind, { plural, singular, namespaced, shortNames, status }]) => [
    {
      ...{ name: plural, singularName: singular, namespaced, kind: kindName(kind), verbs: VERBS, shortNames },
      categories: CATEGORIES[kind],
    },
    ...(status
      ? [{ name: `${plural}/status`, singularName: '', namespaced, kind: kindName(kind), verbs: STATUS_VERBS }]
      : []),
  ])
  const all = group === CORE ? [...resources, ...emptyResources()] : resources
  return { kind: 'APIResourceList', apiVersion: 'v1', groupVersion: apiVersion({ group, version }), resources: all }
}

function aggregatedList(names: readonly string[], version: AggregatedVersion): object {
  const items = names.map(group => ({
    metadata: { name: group, creationTimestamp: null },
    versions: versionsOf(group).map(v => ({ version: v, freshness: 'Current', resources: aggregatedRows(group, v) })),
  }))
  return { kind: 'APIGroupDiscoveryList', apiVersion: `apidiscovery.k8s.io/${version}`, metadata: {}, items }
}

function aggregatedRows(group: string, version: string): object[] {
  const rows = rowsOf(group, version).map(([kind, { plural, singular, namespaced, shortNames, status }]) => {
    const responseKind = { group, version, kind: kindName(kind) }
    return {
      resource: plural,
      responseKind,
      scope: namespaced ? 'Namespaced' : 'Cluster',
      singularResource: singular,
      verbs: VERBS,
      shortNames,
      categories: CATEGORIES[kind],
      ...(status ? { subresources: [{ subresource: 'status', responseKind, verbs: STATUS_VERBS }] } : {}),
    }
  })
  return group === CORE ? [...rows, ...emptyAggregatedRows()] : rows
}
