// JSON merge patch, RFC 7386. Pure: neither the target nor the patch is changed.

type JsonObject = Record<string, unknown>

/** `target` with `patch` merged in: null removes a key, an object merges, anything else replaces. */
export function mergePatch(target: unknown, patch: unknown): unknown {
  if (!isObject(patch)) return patch
  const result = new Map(isObject(target) ? Object.entries(target) : [])
  for (const [key, value] of Object.entries(patch))
    if (value === null) result.delete(key)
    else result.set(key, mergePatch(result.get(key), value))
  // fromEntries defines own keys: a patch cannot reach a prototype by the key __proto__
  return Object.fromEntries(result)
}

/** The smallest merge patch that makes `to` of `from`. A null inside `to` cannot be said and is left out. */
export function mergePatchBetween(
  from: JsonObject,
  to: JsonObject,
  same: (a: unknown, b: unknown) => boolean,
): JsonObject {
  const patch = new Map<string, unknown>()
  for (const key of Object.keys(from)) if (to[key] === undefined) patch.set(key, null)
  for (const [key, value] of Object.entries(to)) {
    const before = from[key]
    if (value === undefined || value === null || same(before, value)) continue
    patch.set(key, isObject(before) && isObject(value) ? mergePatchBetween(before, value, same) : value)
  }
  return Object.fromEntries(patch)
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
