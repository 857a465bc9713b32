// What a program asks of the API server, read from its source: the calls of a store with a kind by its name, and the caches
// that are opened, in every file that the program imports, of lists of kinds too. Text, not a syntax tree, as in test/structure/source.ts.
import { type Kind, type KindRow, kinds } from '../../api/kinds.ts'
import { RECEIPT_KINDS } from '../../api/policy-receipts.ts'
import { importsOf, isRelative, targetOf, textOf } from '../structure/source.ts'

/** The verbs of Kubernetes that a call of a store needs. */
const VERBS: Readonly<Record<string, readonly string[]>> = {
  get: ['get'],
  list: ['list'],
  pages: ['list'],
  create: ['create'],
  update: ['update'],
  updateStatus: ['update'],
  patch: ['patch'],
  delete: ['delete'],
  watch: ['list', 'watch'],
}

/** The files of a program: `root` and everything that it imports, if only later. */
export function filesOf(root: string): string[] {
  const found = new Set([root])
  for (const file of found)
    for (const each of importsOf(file)) if (isRelative(each) && /\.ts$/.test(targetOf(each))) found.add(targetOf(each))
  return [...found].toSorted()
}

/** Rights as `group/resource verb`, sorted. */
export function rightsOf(root: string): string[] {
  const rights = filesOf(root)
    .filter(file => !/^(api|datastore\/fake)/.test(file))
    .flatMap(file => rightsIn(textOf(file)))
  return [...new Set(rights)].toSorted()
}

function rightsIn(text: string): string[] {
  const call = /\b(?:\w*[sS]tore|#store)\s*\.(\w+)(?:<[^>]*>)?\(\s*'(\w+)'/g
  const calls = [...text.matchAll(call)].flatMap(({ index, 0: start, 1: method, 2: kind }) => {
    const whole = callText(text, index + start.indexOf('('))
    const status = method === 'updateStatus' || /subresource: 'status'/.test(whole)
    const verbs = [...(VERBS[method!] ?? []), ...(/applyAs/.test(whole) ? ['create'] : [])]
    return verbs.flatMap(verb => rightOf(kind!, verb, status))
  })
  // objects of a kind that the table does not have
  const any = !text.includes('.writeAny(')
    ? []
    : [...text.matchAll(/\{ group: '([^']*)', version: '\w+', plural: '(\w+)', kind: '\w+' \}/g)].flatMap(
        ([, group, plural]) => [`${group}/${plural} create`],
      )
  const opened = [...text.matchAll(/\.of\('(\w+)'\)/g)].map(([, kind]) => kind!)
  const lists = [...text.matchAll(/= \[([^\]]*)\] as const satisfies readonly Kind\[\]/g)].flatMap(([, names]) =>
    [...names!.matchAll(/'(\w+)'/g)].map(([, kind]) => kind!),
  )
  const shared = /\bRECEIPT_KINDS\.map\(kind =>\s*store\.watch\(/.test(text) ? RECEIPT_KINDS : []
  const watched = [...opened, ...lists, ...shared].flatMap(kind =>
    ['list', 'watch'].flatMap(verb => rightOf(kind, verb, false)),
  )
  return [...calls, ...any, ...watched]
}

function rightOf(kind: string, verb: string, status: boolean): string[] {
  if (!Object.hasOwn(kinds, kind)) return []
  const { group, plural }: KindRow = kinds[kind as Kind]
  return [`${group}/${plural}${status ? '/status' : ''} ${verb}`]
}

/** From an opening bracket to the one that closes it. */
function callText(text: string, open: number): string {
  let depth = 0
  for (let at = open; at < text.length; at++) {
    if (text[at] === '(') depth++
    if (text[at] === ')' && --depth === 0) return text.slice(open, at)
  }
  return text.slice(open)
}
