// Kubernetes' strategic merge patch for the core kinds: a merge patch in which some lists merge by a key. Custom
// resources have no such lists, and for them it is a merge patch. Source: the patchStrategy and patchMergeKey tags of
// k8s.io/api/core/v1.
import { isObject } from './merge-patch.ts'

/** The key by which a list merges, by the list's field name; `''` is a list of scalars that merges as a set. */
const MERGE_KEYS: Readonly<Record<string, string>> = {
  conditions: 'type',
  addresses: 'type',
  containers: 'name',
  initContainers: 'name',
  ephemeralContainers: 'name',
  volumes: 'name',
  env: 'name',
  volumeMounts: 'mountPath',
  volumeDevices: 'devicePath',
  hostAliases: 'ip',
  podIPs: 'ip',
  imagePullSecrets: 'name',
  topologySpreadConstraints: 'topologyKey',
  ownerReferences: 'uid',
  finalizers: '',
  podCIDRs: '',
}
const CONTAINER_PORTS = { ports: 'containerPort' }
const ORDER = '$setElementOrder/'
const DELETE_SCALARS = '$deleteFromPrimitiveList/'

type JsonObject = Record<string, unknown>

/** `target` with a strategic merge patch applied; directives that are unknown are dropped. Pure. */
export function strategicMerge(target: unknown, patch: unknown): unknown {
  return mergeObject(target, patch, false)
}

function mergeObject(target: unknown, patch: unknown, inContainer: boolean): unknown {
  if (!isObject(patch)) return patch
  if (patch['$patch'] === 'replace') return plain(patch)
  const result = new Map(isObject(target) ? Object.entries(target) : [])
  if (Array.isArray(patch['$retainKeys']))
    for (const key of result.keys()) if (!patch['$retainKeys'].includes(key)) result.delete(key)
  for (const [key, value] of Object.entries(patch)) {
    if (key.startsWith(DELETE_SCALARS)) removeScalars(result, key.slice(DELETE_SCALARS.length), value)
    if (key.startsWith('$')) continue
    if (value === null || (isObject(value) && value['$patch'] === 'delete')) result.delete(key)
    else if (Array.isArray(value)) result.set(key, mergeList(result.get(key), value, mergeKey(key, inContainer)))
    else result.set(key, mergeObject(result.get(key), value, false))
  }
  for (const [key, value] of Object.entries(patch))
    if (key.startsWith(ORDER)) order(result, key.slice(ORDER.length), value, inContainer)
  return Object.fromEntries(result)
}

function mergeKey(field: string, inContainer: boolean): string | undefined {
  if (inContainer && Object.hasOwn(CONTAINER_PORTS, field)) return CONTAINER_PORTS.ports
  return Object.hasOwn(MERGE_KEYS, field) ? MERGE_KEYS[field] : undefined
}

function mergeList(target: unknown, patch: readonly unknown[], key: string | undefined): unknown[] {
  const replace = patch.some(item => isObject(item) && item['$patch'] === 'replace' && Object.keys(item).length === 1)
  const items = patch.filter(item => !(isObject(item) && item['$patch'] === 'replace'))
  if (key === undefined || replace || !Array.isArray(target)) return items.filter(item => !isDeletion(item)).map(plain)
  if (key === '') return [...new Set([...target, ...items])]
  const merged: (unknown | typeof GONE)[] = [...(target as unknown[])]
  const places = new Map(merged.map((old, i) => [isObject(old) ? old[key] : old, i]).reverse() as [unknown, number][])
  for (const item of items) {
    const id = isObject(item) ? item[key] : undefined
    const at = isObject(item) && id !== undefined ? places.get(id) : undefined
    if (isDeletion(item)) {
      if (at !== undefined) merged[at] = GONE
      places.delete(id)
    } else if (at !== undefined) merged[at] = mergeObject(merged[at], item, true)
    else places.set(id, merged.push(plain(item)) - 1)
  }
  return merged.filter(item => item !== GONE)
}

/** Marks the place of an item that was deleted. */
const GONE = Symbol('gone')

function isDeletion(item: unknown): boolean {
  return isObject(item) && item['$patch'] === 'delete'
}

function removeScalars(result: Map<string, unknown>, field: string, gone: unknown): void {
  const list = result.get(field)
  if (!Array.isArray(list) || !Array.isArray(gone)) return
  const all = new Set(gone)
  result.set(
    field,
    list.filter(item => !all.has(item)),
  )
}

/** Puts a merged list into the order the client named; what it did not name stays behind, in its own order. */
function order(result: Map<string, unknown>, field: string, wanted: unknown, inContainer: boolean): void {
  const [list, key] = [result.get(field), mergeKey(field, inContainer)]
  if (!Array.isArray(list) || !Array.isArray(wanted) || key === undefined) return
  const idOf = (item: unknown): unknown => (key !== '' && isObject(item) ? item[key] : item)
  const rank = new Map(wanted.map((item, i) => [idOf(item), i]))
  const rankOf = (item: unknown): number => rank.get(idOf(item)) ?? wanted.length
  result.set(
    field,
    list.toSorted((a, b) => rankOf(a) - rankOf(b)),
  )
}

/** A value of a patch without the directives in it. */
function plain(value: unknown): unknown {
  if (Array.isArray(value)) return value.filter(item => !isDeletion(item)).map(plain)
  if (!isObject(value)) return value
  const entries = Object.entries(value as JsonObject).filter(([key, v]) => !key.startsWith('$') && v !== null)
  return Object.fromEntries(entries.map(([key, v]) => [key, plain(v)]))
}
