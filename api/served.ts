// How a server names a kind, in each of Calico's two API groups.
import { type ApiGroup, GROUP_VERSIONS } from './api-group.ts'
import { isCustom, type Kind, type KindRow, kindName, kinds } from './kinds.ts'

/** How a server names a kind. */
export type Served = { group: string; version: string; kind: string; plural: string; singular: string }

/** A kind as a server with this API group names it; undefined where it has none. Kinds of Kubernetes are always the same. */
export function servedAs(kind: Kind, apiGroup: ApiGroup): Served | undefined {
  const { group, version, plural, singular, stored }: KindRow = kinds[kind]
  if (!isCustom(kind) || apiGroup === 'v3') return { group, version, kind: kindName(kind), plural, singular }
  return stored === false ? undefined : { ...GROUP_VERSIONS.v1, kind, plural, singular, ...stored }
}
