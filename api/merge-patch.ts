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

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
