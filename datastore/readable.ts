// An object as a server sent it: a valid resource, or which object it is and what is wrong with it. An object that somebody
// wrote wrong is data: it is never a reason to stop.
import type { Kind, Resource } from '../api/kinds.ts'
import { isObject } from '../api/merge-patch.ts'
import { isTiered } from '../api/stored-form.ts'
import { type Problem, type RefusedObject, validate } from '../api/validate.ts'

/** A list of a megabyte can have as many faults as items: these are enough to know what to put right. */
const MOST_PROBLEMS = 20

/** The resource with its defaults, or all that is wrong with it: `problem`, where its annotation cannot be read. */
export function checkedObject<K extends Kind>(kind: K, object: unknown, problem?: string): Resource<K> | Problem[] {
  return problem === undefined ? validate(kind, object) : [{ path: 'metadata.annotations', message: problem }]
}

/**
 * The resource with its defaults, or why it is none: for `problem` in any case, but for a policy, of which an annotation that cannot be
 * read has nothing that readers use: without it, what it denies would pass. An object without a name has the name ''.
 */
export function readObject<K extends Kind>(
  kind: K,
  object: unknown,
  problem?: string,
): { item: Resource<K>; refused?: undefined } | { item?: undefined; refused: RefusedObject } {
  const result = checkedObject(kind, object, isTiered(kind) ? undefined : problem)
  if (!Array.isArray(result)) return { item: result }
  const { name, namespace } = isObject(object) && isObject(object['metadata']) ? object['metadata'] : {}
  const refused: RefusedObject = {
    name: typeof name === 'string' ? name : '',
    problems: result.slice(0, MOST_PROBLEMS),
  }
  if (typeof namespace === 'string' && namespace !== '') refused.namespace = namespace
  return { refused }
}
