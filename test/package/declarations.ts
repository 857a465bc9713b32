// Reads declaration files as text: which types the signatures of a package's entries name, and which of them are
// exported. Declarations are emitted with one statement at the start of a line each, so no syntax tree is needed.
import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

type Place = { file: string; name: string }
type Declarations = {
  /** Text of each declaration of the file, by name. */
  own: ReadonlyMap<string, string>
  exported: ReadonlySet<string>
  /** Names that come from other files, imported or exported again. */
  foreign: ReadonlyMap<string, { name: string; from: string }>
}

/** Types of this package that the exports of `entries` name, directly or through other types, and that none exports. */
export function unexportedTypes(entries: readonly string[]): string[] {
  const files = new Map<string, Declarations>()
  const read = (file: string): Declarations => {
    const known = files.get(file) ?? parse(readFileSync(file, 'utf8'))
    files.set(file, known)
    return known
  }
  /** Where a name that is visible in a file is declared; undefined for one of another package or of the language. */
  const locate = ({ file, name }: Place): Place | undefined => {
    const { own, foreign } = read(file)
    if (own.has(name)) return { file, name }
    const at = foreign.get(name)
    if (at === undefined || !at.from.startsWith('.')) return undefined
    return locate({ file: join(dirname(file), at.from.replace(/\.ts$/, '.d.ts')), name: at.name })
  }
  const key = ({ file, name }: Place) => `${file} ${name}`
  const places = entries.flatMap(file => [...read(file).exported].flatMap(name => locate({ file, name }) ?? []))
  const published = new Set(places.map(key))
  const seen = new Set(published)
  for (const { file, name } of places) // grows while it is walked
    for (const word of read(file)
      .own.get(name)!
      .match(/\b[A-Z]\w*/g) ?? []) {
      const place = locate({ file, name: word })
      if (place === undefined || seen.has(key(place))) continue
      seen.add(key(place))
      places.push(place)
    }
  return [...seen].filter(place => !published.has(place))
}

function parse(text: string): Declarations {
  const code = text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/^\s*\/\/.*$/gm, '')
  const own = new Map<string, string>()
  const exported = new Set<string>()
  const foreign = new Map<string, { name: string; from: string }>()
  for (const statement of code.split(/^(?=(?:export|import|declare|type)\b)/m)) {
    const list = /^(import|export)\s+(?:type\s+)?\{([^}]*)\}(?:\s+from\s+'([^']+)')?/.exec(statement)
    for (const part of (list?.[2] ?? '').split(',')) {
      const [name = '', alias = name] = part
        .trim()
        .replace(/^type\s+/, '')
        .split(/\s+as\s+/)
      if (name === '') continue
      if (list![1] === 'export') exported.add(alias)
      if (list![3] !== undefined) foreign.set(alias, { name, from: list![3] })
    }
    const declared = /^(export\s+)?(?:declare\s+)?(?:abstract\s+)?(?:type|interface|class|function|const)\s+(\w+)/.exec(
      statement,
    )
    if (declared === null) continue
    const [, marked, name = ''] = declared
    own.set(name, (own.get(name) ?? '') + statement)
    if (marked !== undefined) exported.add(name)
  }
  return { own, exported, foreign }
}
