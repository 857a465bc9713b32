// The commands on resources, in calicoctl's words: get, apply, create, replace, delete, patch. One object's failure does
// not stop the others; the exit code is that of the worst.

import { fromCalicoNode } from '../api/calico-node.ts'
import { type Kind, kinds, type Resource } from '../api/kinds.ts'
import { isObject } from '../api/merge-patch.ts'
import { formatUnknown, unknownFields } from '../api/unknown-fields.ts'
import { formatIneffective, ineffectiveFields } from '../api/unsupported.ts'
import { formatProblems } from '../api/validate.ts'
import { Conflict, NotFound, type Store } from '../datastore/port.ts'
import { type Command, type CommandOption, type Context, type Options, outputOption } from './command.ts'
import { EXIT, type ExitCode, failureOf, UsageError, worst } from './failure.ts'
import { type Item, parseKind, parseManifest } from './manifest.ts'
import { type Format, renderResources } from './render.ts'
import { parseYaml } from './yaml.ts'

const namespaceOption: CommandOption = {
  flags: '-n, --namespace <name>',
  summary: 'of namespaced kinds',
  default: 'default',
}
const fileOption: CommandOption = {
  flags: '-f, --filename <file>',
  summary: 'manifest, or folder of manifests, to read, - for standard input; may be repeated',
  repeated: true,
}
const kindArgument = { name: '<kind>', summary: 'such as ippool, bgppeers or node' }

/** What margayctl calls itself where the server notes who wrote a field. */
export const MANAGER = 'margayctl'

type Outcome = 'created' | 'updated' | 'unchanged' | 'replaced' | 'deleted' | 'skipped'

export const resourceCommands: readonly Command[] = [
  {
    name: 'get',
    summary: 'Show resources of a kind, all or by name',
    arguments: [kindArgument, { name: '[names...]', summary: 'none: all of them' }],
    options: [
      outputOption,
      namespaceOption,
      { flags: '-A, --all-namespaces', summary: 'of every namespace' },
      { flags: '-l, --selector <labels>', summary: 'only those with these labels, such as app=web' },
    ],
    run: get,
  },
  fromManifest('apply', 'Create what is not there and update what is', (store, item) => apply(store, item)),
  fromManifest(
    'create',
    'Create resources that must not be there yet',
    (store, item, options) => create(store, item, options['skipExists'] === true),
    { flags: '--skip-exists', summary: 'leave alone what is there' },
  ),
  fromManifest('replace', 'Replace resources that must be there', (store, item) => replace(store, item)),
  {
    name: 'delete',
    summary: 'Delete resources by name, or those of a manifest',
    arguments: [
      { name: '[kind]', summary: 'with names; or give -f' },
      { name: '[names...]', summary: 'at least one' },
    ],
    options: [fileOption, namespaceOption, { flags: '-s, --skip-not-exists', summary: 'what is not there is fine' }],
    run: remove,
  },
  {
    name: 'patch',
    summary: 'Merge a patch (RFC 7386) into a resource',
    arguments: [kindArgument, { name: '<name>', summary: 'of the resource' }],
    options: [{ flags: '-p, --patch <patch>', summary: 'JSON or YAML, null removes a field' }, namespaceOption],
    run: patch,
  },
]

async function get([word = '', ...names]: readonly string[], options: Options, context: Context): Promise<ExitCode> {
  const kind = parseKind(word)
  const { namespaced } = kinds[kind]
  const all = options['allNamespaces'] === true
  if (all && names.length > 0) throw new UsageError('names cannot be combined with --all-namespaces')
  const namespace = namespaced && !all ? String(options['namespace']) : undefined
  const view = { format: options['output'] as Format, single: names.length === 1, withNamespace: all }
  if (names.length === 0) {
    const labelSelector = options['selector'] as string | undefined
    const objects = await (await context.store()).list(kind, { namespace, labelSelector })
    context.out(renderResources(kind, objects.toSorted(byName), view))
    return EXIT.fine
  }
  const found: Resource<Kind>[] = []
  const code = await forEach(
    names,
    context,
    name => `${kind} ${name}`,
    async name => {
      found.push(await (await context.store()).get(kind, name, namespace))
    },
  )
  if (found.length > 0) context.out(renderResources(kind, found, view))
  return code
}

function byName(a: Resource<Kind>, b: Resource<Kind>): number {
  const key = ({ metadata }: Resource<Kind>): string => `${metadata.namespace ?? ''}\0${metadata.name}`
  return key(a) < key(b) ? -1 : 1
}

function fromManifest(
  name: string,
  summary: string,
  act: (store: Store, item: Item, options: Options) => Promise<Outcome>,
  ...more: CommandOption[]
): Command {
  return {
    name,
    summary,
    arguments: [],
    options: [fileOption, namespaceOption, ...more],
    run: async (_words, options, context) =>
      forEach(await itemsOf(options, context), context, titleOf, async item => {
        warnOfFields(item, context)
        context.out(`${titleOf(item)} ${await act(await context.store(), item, options)}\n`)
      }),
  }
}

/** A field that is kept and does nothing is told, so that nobody relies on it. */
function warnOfFields({ kind, object }: Pick<Item, 'kind' | 'object'>, context: Context): void {
  for (const field of ineffectiveFields(kind, object))
    context.err(`${kind} ${object.metadata.name}: ${formatIneffective(field)}\n`)
}

async function itemsOf(options: Options, context: Context): Promise<Item[]> {
  const paths = options['filename']
  if (!Array.isArray(paths)) throw new UsageError('give a manifest with -f FILE, a folder, or -f - for standard input')
  const namespace = String(options['namespace'])
  return (await context.read(paths)).flatMap(({ name, text }) => parseManifest(text, name, namespace))
}

/** Server-side: what the manifest names is set, and what an earlier one named and this one does not goes; the rest stays. */
async function apply(store: Store, { kind, object, named }: Item): Promise<Outcome> {
  const { name, namespace } = object.metadata
  const before = await existing(store, kind, name, namespace)
  const after = await store.patch(kind, name, named, { namespace, applyAs: MANAGER })
  if (before === undefined) return 'created'
  return after.metadata.resourceVersion === before.metadata.resourceVersion ? 'unchanged' : 'updated'
}

async function existing(
  store: Store,
  kind: Kind,
  name: string,
  namespace: string | undefined,
): Promise<Resource<Kind> | undefined> {
  try {
    return await store.get(kind, name, namespace)
  } catch (error) {
    if (error instanceof NotFound) return undefined
    throw error
  }
}

/** The whole object is the manifest's then; over the version that the manifest names, if it names one. */
async function replace(store: Store, { kind, object }: Item): Promise<Outcome> {
  await store.update(kind, object)
  return 'replaced'
}

async function create(store: Store, { kind, object }: Item, skipExisting: boolean): Promise<Outcome> {
  try {
    await store.create(kind, object)
    return 'created'
  } catch (error) {
    if (skipExisting && error instanceof Conflict) return 'skipped'
    throw error
  }
}

async function remove([word, ...names]: readonly string[], options: Options, context: Context): Promise<ExitCode> {
  const byManifest = options['filename'] !== undefined
  if (byManifest === (word !== undefined)) throw new UsageError('give either KIND NAME... or -f FILE')
  if (word !== undefined && names.length === 0) throw new UsageError(`name the ${word} to delete`)
  const namespace = String(options['namespace'])
  const doomed =
    word === undefined
      ? (await itemsOf(options, context)).map(({ kind, object }) => ({ kind, ...object.metadata }))
      : names.map(name => ({ kind: parseKind(word), name, namespace }))
  const title = ({ kind, name }: { kind: Kind; name: string }): string => `${kind} ${name}`
  return forEach(doomed, context, title, async target => {
    const outcome = await removeOne(await context.store(), target, options['skipNotExists'] === true)
    context.out(`${title(target)} ${outcome}\n`)
  })
}

async function removeOne(
  store: Store,
  { kind, name, namespace }: { kind: Kind; name: string; namespace?: string },
  skipMissing: boolean,
): Promise<Outcome> {
  try {
    await store.delete(kind, name, kinds[kind].namespaced ? { namespace } : {})
    return 'deleted'
  } catch (error) {
    if (skipMissing && error instanceof NotFound) return 'skipped'
    throw error
  }
}

async function patch([word = '', name = '']: readonly string[], options: Options, context: Context): Promise<ExitCode> {
  const kind = parseKind(word)
  const given = options['patch']
  if (typeof given !== 'string')
    throw new UsageError('give the patch with -p, such as -p \'{"spec":{"disabled":true}}\'')
  const body = checkedPatch(kind, patchOf(given))
  const namespace = kinds[kind].namespaced ? { namespace: String(options['namespace']) } : {}
  return forEach(
    [name],
    context,
    () => `${kind} ${name}`,
    async () => {
      const object = await (await context.store()).patch(kind, name, body, namespace)
      warnOfFields({ kind, object }, context)
      context.out(`${kind} ${name} updated\n`)
    },
  )
}

/** Calico's Node fields become what they are here; a field that nobody reads is refused. */
function checkedPatch(kind: Kind, patch: Record<string, unknown>): object {
  const { node: body, problems } = kind === 'Node' ? fromCalicoNode(patch) : { node: patch, problems: [] }
  const unknown = unknownFields(kind, body).map(path => formatUnknown(kind, path))
  const faults = [...(problems.length > 0 ? [formatProblems(problems)] : []), ...unknown]
  if (faults.length > 0) throw new UsageError(`the patch of ${kind}: ${faults.join('; ')}`)
  return body
}

function patchOf(text: string): Record<string, unknown> {
  try {
    const [body] = parseYaml(text)
    if (isObject(body)) return body
  } catch (error) {
    throw new UsageError(`the patch cannot be read: ${(error as Error).message}`)
  }
  throw new UsageError('the patch must be an object, such as {"spec":{"disabled":true}}')
}

function titleOf({ kind, object }: Item): string {
  return `${kind} ${object.metadata.name}`
}

async function forEach<T>(
  items: readonly T[],
  context: Context,
  title: (item: T) => string,
  act: (item: T) => Promise<void>,
): Promise<ExitCode> {
  const codes: ExitCode[] = []
  for (const item of items)
    try {
      await act(item)
    } catch (error) {
      const { code, message } = failureOf(error, title(item))
      context.err(`${message}\n`)
      codes.push(code)
    }
  return worst(codes)
}
