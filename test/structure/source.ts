// Reads the project's own TypeScript as far as its structure is concerned: who imports what from whom, and what each
// file exports. Text, not a syntax tree: the formatter puts every import and export at the start of a line.
import { globSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'

const root = new URL('../..', import.meta.url).pathname

/** One import, re-export or dynamic import. `names` holds `*` when it takes everything, and is empty for side effects. */
export type Import = { file: string; specifier: string; names: readonly string[] }

/** One exported declaration. `mentions` counts the lines of its own file that name it, the declaration left out. */
export type Export = { file: string; name: string; type: boolean; mentions: number }

/** Every source file as a path from the project's folder. */
export const files: readonly string[] = globSync('**/*.{ts,mts,js,mjs}', {
  cwd: root,
  exclude: ['node_modules', '.git', '.cache', 'dist', 'docs/api', 'docs/typedoc/node_modules'],
}).toSorted()

const texts = new Map(files.map(file => [file, readFileSync(join(root, file), 'utf8')]))

/** The text of a file of `files`. Throws for any other. */
export function textOf(file: string): string {
  const text = texts.get(file)
  if (text === undefined) throw new Error(`${file} is not a source file of this project`)
  return text
}

/** The imports of one file, type-only ones included. */
export function importsOf(file: string): Import[] {
  const text = textOf(file)
  const named = /^\s*(?:import|export)\b((?:(?!^\s*(?:import|export)\b)[^'"`;])*?)\bfrom\s*['"]([^'"]+)['"]/gm
  const bare = /^\s*import\s*['"]([^'"]+)['"]/gm
  const dynamic = /\b(?:import|require)\s*\(\s*['"]([^'"]+)['"]/g
  return [
    ...[...text.matchAll(named)].map(([, clause, specifier]) => ({
      file,
      specifier: specifier!,
      names: namesIn(clause!),
    })),
    ...[...text.matchAll(bare)].map(([, specifier]) => ({ file, specifier: specifier!, names: [] })),
    ...[...text.matchAll(dynamic)].map(([, specifier]) => ({ file, specifier: specifier!, names: ['*'] })),
  ]
}

function namesIn(clause: string): string[] {
  if (clause.includes('*')) return ['*']
  return clause
    .replace(/^\s*type\b/, '')
    .replace(/[{}]/g, ' ')
    .split(',')
    .map(part => part.trim().replace(/^type\s+/, ''))
    .map(part => part.split(/\s+as\s+/)[0]!)
    .filter(name => name !== '')
}

/** The exported declarations of one file; a re-export is an import of the file that declares it. */
export function exportsOf(file: string): Export[] {
  const text = textOf(file)
  const declared = /^export\s+(?:abstract\s+|async\s+)*(const|let|function\*?|class|type|interface)\s+(\w+)/gm
  const lines = text.split('\n').filter(line => !line.trimStart().startsWith('//'))
  return [...text.matchAll(declared)].map(([, keyword, name]) => ({
    file,
    name: name!,
    type: keyword === 'type' || keyword === 'interface',
    mentions: lines.filter(line => new RegExp(`\\b${name}\\b`).test(line)).length - 1,
  }))
}

/** The file that a relative import names, as a path from the project's folder. */
export function targetOf({ file, specifier }: Import): string {
  return relative(root, join(root, dirname(file), specifier))
}

export function isRelative({ specifier }: Import): boolean {
  return specifier.startsWith('.')
}

/** For the message of a failed test. */
export function shown({ file, specifier }: Import): string {
  return `${file} imports ${specifier}`
}
