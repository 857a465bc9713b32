// Objects that the API server holds and that are not valid, as conditions. Pure.
import type { Kind } from '../../api/kinds.ts'
import { broken, type Condition } from '../../api/status.ts'
import { formatProblems, type RefusedObject } from '../../api/validate.ts'

/** Most characters of a message: a list of problems can be as long as the object. */
const MOST_CHARACTERS = 500

/** One condition for each object. */
export function refusedConditions(kind: Kind, objects: readonly RefusedObject[]): Condition[] {
  return objects.map(({ name, namespace, problems }) => {
    const fields = [...new Set(problems.map(({ path }) => path || 'the object'))].join(', ')
    return broken('ObjectsReadable', {
      reason: 'Invalid',
      message: `${short(formatProblems(problems))}; it counts as it was when it was last valid, or not at all`,
      remedy: `correct ${short(fields)}, or delete ${kind} ${name}`,
      object: namespace === undefined ? { kind, name } : { kind, name, namespace },
    })
  })
}

function short(text: string): string {
  return text.length > MOST_CHARACTERS ? `${text.slice(0, MOST_CHARACTERS)}…` : text
}
