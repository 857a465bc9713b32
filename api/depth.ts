// How deep a value may be nested. JSON of some kilobytes can be nested ten thousand levels, and a Kubernetes API server stores
// it: whatever walks a value by calling itself would run out of stack, so a value is measured before anything else is done.

/** Most levels of lists and objects that are read: many times what any kind has, and few for whatever calls itself. */
export const MOST_DEPTH = 200
/** Most levels that somebody may write. Fewer, since a server notes the owners of fields some levels deeper than the fields. */
export const MOST_WRITTEN_DEPTH = 100

/** Where a value is nested deeper than so many levels, down to three names (`spec.a.b`); undefined where it is not. */
export function placeTooDeep(value: unknown, most: number): string | undefined {
  return isTooDeep(value, most) ? keysTooDeep(value, most)?.slice(0, 3).join('.') : undefined
}

/** Asked of every object that is read, so it makes no names of the places in lists: that costs five times as much. */
function isTooDeep(value: unknown, most: number): boolean {
  if (typeof value !== 'object' || value === null) return false
  if (most === 0) return true
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) if (isTooDeep(value[i], most - 1)) return true
    return false
  }
  for (const key in value) if (isTooDeep((value as Record<string, unknown>)[key], most - 1)) return true
  return false
}

function keysTooDeep(value: unknown, most: number): string[] | undefined {
  if (typeof value !== 'object' || value === null) return undefined
  if (most === 0) return []
  for (const key in value) {
    const inner = keysTooDeep((value as Record<string, unknown>)[key], most - 1)
    if (inner !== undefined) return [key, ...inner]
  }
  return undefined
}

/** The value with a text instead of whatever stands deeper than so many levels. The same value where nothing does. */
export function withoutTooDeep(value: unknown, most: number): unknown {
  return placeTooDeep(value, most) === undefined ? value : cut(value, most)
}

function cut(value: unknown, most: number): unknown {
  if (typeof value !== 'object' || value === null) return value
  if (most === 0) return '<nested too deep: left out>'
  if (Array.isArray(value)) return value.map(each => cut(each, most - 1))
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, cut(inner, most - 1)]))
}
