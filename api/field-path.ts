// Looks a field of an object up by its path, for tables and field selectors.

/** The value at `path`, or undefined where a step of it is absent. Only own properties count. */
export function fieldAt(object: object, path: readonly string[]): unknown {
  return path.reduce<unknown>(
    (at, key) =>
      typeof at === 'object' && at !== null && Object.hasOwn(at, key)
        ? (at as Record<string, unknown>)[key]
        : undefined,
    object,
  )
}
