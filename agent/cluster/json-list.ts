// A list in JSON that somebody wrote into an annotation: bounded, and told in words where it cannot be read. Pure.

/** The most of a value that is told again. */
const SHOWN = 60

/** The items, or why they cannot be read. `most`: characters of the text, and items, which `names` names. */
export function listOf(text: string, most: { characters: number; items: number; names: string }): unknown[] | string {
  if (text.length > most.characters) return `has more than ${most.characters} characters`
  let list: unknown
  try {
    list = JSON.parse(text)
  } catch {
    return `${shown(text)} is no JSON`
  }
  if (!Array.isArray(list)) return `${shown(text)} is no list`
  return list.length > most.items ? `names ${list.length} ${most.names}` : list
}

/** The beginning of what somebody wrote. */
export function shown(text: string): string {
  return text.length > SHOWN ? `${text.slice(0, SHOWN)}…` : text
}
