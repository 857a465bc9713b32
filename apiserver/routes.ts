// From a URL and a method to what is asked for, following Kubernetes' resource paths. Pure.
import { type Kind, type KindRow, kinds } from '../api/kinds.ts'

export type ApiVerb = 'get' | 'list' | 'watch' | 'create' | 'update' | 'patch' | 'delete' | 'deletecollection'

/** A request about objects of a kind; `name` absent means the collection. */
export type ResourceRequest = {
  verb: ApiVerb
  kind: Kind
  namespace?: string
  name?: string
  subresource?: 'status'
}

/** The path names no resource of ours. */
export const UNKNOWN = 'unknown'
/** The resource is ours, but takes no such method. */
export const NO_SUCH_VERB = 'no-such-verb'

const byPlural = new Map((Object.keys(kinds) as Kind[]).map(kind => [resourcePath(kinds[kind]), kind]))

function resourcePath({ group, version, plural }: KindRow): string {
  return group === '' ? `api/${version}/${plural}` : `apis/${group}/${version}/${plural}`
}

/** What a request to a path below /api or /apis asks for. `path` is percent-decoded part by part. */
export function routeOf(method: string, path: string, isWatch: boolean): ResourceRequest | 'unknown' | 'no-such-verb' {
  const parts = decodeParts(path)
  if (parts === undefined) return UNKNOWN
  const root = parts.splice(0, parts[0] === 'api' ? 2 : 3).join('/')
  const target = targetOf(root, parts)
  if (target === undefined) return UNKNOWN
  const verb = verbOf(method, target.name !== undefined, isWatch)
  return verb === undefined || (target.subresource !== undefined && !['get', 'update', 'patch'].includes(verb))
    ? NO_SUCH_VERB
    : { verb, ...target }
}

function targetOf(root: string, parts: readonly string[]): Omit<ResourceRequest, 'verb'> | undefined {
  if (parts[0] === 'namespaces' && parts.length >= 3) {
    const kind = byPlural.get(`${root}/${parts[2]}`)
    if (kind !== undefined && kinds[kind].namespaced) return nested(kind, parts.slice(3), parts[1])
  }
  const kind = byPlural.get(`${root}/${parts[0]}`)
  // an object of a namespaced kind has its path below its namespace only
  if (kind === undefined || (kinds[kind].namespaced && parts.length > 1)) return undefined
  return nested(kind, parts.slice(1))
}

function nested(
  kind: Kind,
  [name, subresource, ...more]: readonly string[],
  namespace?: string,
): Omit<ResourceRequest, 'verb'> | undefined {
  if (more.length > 0) return undefined
  const target = { kind, ...(namespace === undefined ? {} : { namespace }), ...(name === undefined ? {} : { name }) }
  if (subresource === undefined) return target
  if (subresource === 'status' && kinds[kind].status) return { ...target, subresource }
  return undefined
}

function verbOf(method: string, named: boolean, isWatch: boolean): ApiVerb | undefined {
  switch (method) {
    case 'GET':
      if (isWatch) return 'watch'
      return named ? 'get' : 'list'
    case 'POST':
      return named ? undefined : 'create'
    case 'PUT':
      return named ? 'update' : undefined
    case 'PATCH':
      return named ? 'patch' : undefined
    case 'DELETE':
      return named ? 'delete' : 'deletecollection'
  }
  return undefined
}

function decodeParts(path: string): string[] | undefined {
  try {
    return path
      .split('/')
      .filter(part => part !== '')
      .map(decodeURIComponent)
  } catch {
    return undefined // a stray % in the path
  }
}
