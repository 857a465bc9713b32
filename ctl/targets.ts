// Which objects a command line means: `KIND`, `KIND NAME...`, `KIND/NAME...`, `KIND,KIND`, or those of manifests.
import { type Kind, type KindRow, kinds } from '../api/kinds.ts'
import type { CommandOption, Context, Options, Source } from './command.ts'
import { UsageError } from './failure.ts'
import { type Item, isEmpty, parseKind, parseManifest } from './manifest.ts'
import { visible } from './visible.ts'

export const fileOption: CommandOption = {
  flags: '-f, --filename <file>',
  summary: 'manifest, or folder of manifests, to read, - for standard input; may be repeated',
  repeated: true,
}

/** Beside `fileOption`. */
const folderOptions: readonly CommandOption[] = [
  { flags: '-R, --recursive', summary: 'of a folder, also the manifests in the folders below it' },
  { flags: '--skip-empty', summary: 'manifests without a resource, and folders without a manifest, are fine' },
]

const namespaceOption: CommandOption = {
  flags: '-n, --namespace <name>',
  summary: 'of namespaced kinds; default: that of the kubeconfig, else default',
}

/** How a command says which objects it means: words, -f and -n. */
export const targetOptions: readonly CommandOption[] = [fileOption, ...folderOptions, namespaceOption]

export const allNamespacesOption: CommandOption = { flags: '-A, --all-namespaces', summary: 'of every namespace' }

export const selectorOption: CommandOption = {
  flags: '-l, --selector <labels>',
  summary: 'only those with these labels, such as app=web',
}

export const fieldSelectorOption: CommandOption = {
  flags: '--field-selector <fields>',
  summary: 'only those with these values, such as spec.nodeName=n1',
}

export const targetArguments = [
  { name: '[kind]', summary: 'such as ippool, bgppeers or node; several with commas; or KIND/NAME' },
  { name: '[names...]', summary: 'of that kind, or more KIND/NAME' },
] as const

/** `names`: objects by name; `kinds`: all of them. The namespace is left out of kinds that have none. */
export type Targets = { by: 'names'; objects: readonly Target[] } | { by: 'kinds'; kinds: readonly Kind[] }

export type Target = { kind: Kind; name: string; namespace?: string }

/** Which objects of a kind a list has. */
export type Selection = { namespace?: string; labelSelector?: string; fieldSelector?: string }

/** Throws UsageError when the words name no kind, or names without one. */
export function parseTargets(words: readonly string[], namespace: string): Targets {
  const [first = '', ...names] = words
  if (first === '') throw new UsageError('give a KIND, KIND NAME or KIND/NAME, or -f FILE')
  if (words.some(word => word.includes('/')))
    return { by: 'names', objects: words.map(word => ofPair(word, namespace)) }
  const found = [...new Set(first.split(',').map(parseKind))]
  if (names.length === 0) return { by: 'kinds', kinds: found }
  return { by: 'names', objects: found.flatMap(kind => names.map(name => target(kind, name, namespace))) }
}

function ofPair(word: string, namespace: string): Target {
  const [kind = '', name = '', ...more] = word.split('/')
  if (kind === '' || name === '' || more.length > 0)
    throw new UsageError(`${JSON.stringify(word)} is no KIND/NAME: with one KIND/NAME all words must be such pairs`)
  return target(parseKind(kind), name, namespace)
}

function target(kind: Kind, name: string, namespace: string | undefined): Target {
  const { namespaced }: KindRow = kinds[kind]
  return { kind, name, ...(namespaced ? { namespace } : {}) }
}

/** By -l and --field-selector. */
export function selectionOf({ selector, fieldSelector }: Options): Selection {
  return {
    ...(typeof selector === 'string' && { labelSelector: selector }),
    ...(typeof fieldSelector === 'string' && { fieldSelector }),
  }
}

/** The namespace that counts for a command: that of -n, else the kubeconfig's. */
export async function namespaceFor(options: Options, context: Context): Promise<string> {
  return typeof options['namespace'] === 'string' ? options['namespace'] : context.namespace()
}

/** The resources of -f, as `parseManifest`. Rejects with UsageError when there is none, or one is wrong. */
export async function itemsOf(
  options: Options,
  context: Context,
  passedOver?: (document: unknown) => boolean,
): Promise<Item[]> {
  const namespace = await namespaceFor(options, context)
  return (await sourcesOf(options, context)).flatMap(({ name, text }) =>
    parseManifest(text, name, namespace, passedOver),
  )
}

/** The objects that -f names. Rejects as `itemsOf`. */
export async function targetsOfFiles(options: Options, context: Context): Promise<Target[]> {
  const items = await itemsOf(options, context)
  return items.map(({ kind, object: { metadata } }) => target(kind, metadata.name, metadata.namespace))
}

/** The objects that words or -f name; at least one. Rejects with UsageError. */
export async function namedTargets(words: readonly string[], options: Options, context: Context): Promise<Target[]> {
  if ((options['filename'] !== undefined) === words.length > 0) throw new UsageError('give either KIND NAME or -f FILE')
  if (words.length === 0) return targetsOfFiles(options, context)
  const targets = parseTargets(words, await namespaceFor(options, context))
  if (targets.by === 'names') return [...targets.objects]
  throw new UsageError(`name the ${words[0]}: KIND NAME or KIND/NAME`)
}

/** The objects that words or -f name, or where --all or a selector is given those of a kind that the server has. Rejects with UsageError. */
export async function chosenTargets(words: readonly string[], options: Options, context: Context): Promise<Target[]> {
  const selection = selectionOf(options)
  if (Object.keys(selection).length === 0 && options['all'] !== true) return namedTargets(words, options, context)
  if (options['filename'] !== undefined) throw new UsageError('-f names its objects: give no selector and no --all')
  const namespace = await namespaceFor(options, context)
  const targets = parseTargets(words, namespace)
  if (targets.by === 'names') throw new UsageError('names cannot be combined with --all or a selector')
  const server = await context.objects()
  const chosen: Target[] = []
  for (const kind of targets.kinds) {
    const isPlaced = kinds[kind].namespaced && options['allNamespaces'] !== true
    const objects = await server.list(kind, isPlaced ? { ...selection, namespace } : selection)
    for (const { metadata } of objects) chosen.push(target(kind, metadata.name, metadata.namespace))
  }
  return chosen
}

/** The texts of -f, by -R and --skip-empty too. Rejects with UsageError. */
export async function sourcesOf(options: Options, context: Context): Promise<Source[]> {
  const paths = options['filename']
  if (!Array.isArray(paths)) throw new UsageError('give a manifest with -f FILE, a folder, or -f - for standard input')
  const [recursive, skipEmpty] = [options['recursive'] === true, options['skipEmpty'] === true]
  const sources = await context.read(paths, { recursive, skipEmpty })
  return skipEmpty ? sources.filter(({ text }) => !isEmpty(text)) : sources
}

/** What messages call an object. */
export function titleOf({ kind, name }: { kind: Kind; name: string }): string {
  return `${kind} ${visible(name)}`
}

/** The same of a resource of a manifest. */
export function titleOfItem({ kind, object }: Item): string {
  return titleOf({ kind, name: object.metadata.name })
}
