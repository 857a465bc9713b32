// apply, create, replace and patch: what they send, and what they say of it in kubectl's words.
import { fromCalicoNode } from '../api/calico-node.ts'
import { apiVersion, isCustom, type Kind, kinds } from '../api/kinds.ts'
import type { AnyObject } from '../api/lifecycle.ts'
import { isObject, mergePatch } from '../api/merge-patch.ts'
import { formatUnknown, unknownFields } from '../api/unknown-fields.ts'
import { formatIneffective, ineffectiveFields } from '../api/unsupported.ts'
import { formatProblems, validate } from '../api/validate.ts'
import type { Objects } from '../datastore/objects.ts'
import { Conflict, NotFound } from '../datastore/port.ts'
import type { PatchType } from '../datastore/requests.ts'
import type { Command, CommandOption, Context, Options } from './command.ts'
import { forEach } from './each.ts'
import { type ExitCode, UsageError } from './failure.ts'
import type { Item } from './manifest.ts'
import { refOf } from './output/columns.ts'
import { formatOption, printerOf, templateOption } from './output/printer.ts'
import { textOf } from './sources.ts'
import { itemsOf, namedTargets, targetArguments, targetOptions, titleOf, titleOfItem } from './targets.ts'
import { parseYaml } from './yaml.ts'

type Outcome = { word: string; object: AnyObject }

export const dryRunOption: CommandOption = {
  flags: '--dry-run <how>',
  summary: 'none, client (only check here) or server (the server checks, and keeps nothing)',
  default: 'none',
  choices: ['none', 'client', 'server'],
}

export const writeCommands: readonly Command[] = [
  fromManifest('apply', 'Create what is not there and update what is, by what the manifest names', apply),
  fromManifest('create', 'Create resources that must not be there yet', create, {
    flags: '--skip-exists',
    summary: 'leave alone what is there',
  }),
  fromManifest('replace', 'Replace resources that must be there', replace),
  {
    name: 'patch',
    summary: 'Change fields of resources',
    arguments: targetArguments,
    options: [
      { flags: '-p, --patch <patch>', summary: 'JSON or YAML, null removes a field' },
      { flags: '--patch-file <file>', summary: 'a file with the patch, - for standard input' },
      {
        flags: '--type <type>',
        summary: 'merge (RFC 7386), json (RFC 6902), strategic (lists of Kubernetes’ own kinds merge by their keys)',
        default: 'merge',
        choices: ['merge', 'json', 'strategic'],
      },
      ...targetOptions,
      dryRunOption,
      formatOption,
      templateOption,
    ],
    run: patch,
  },
]

function fromManifest(
  name: string,
  summary: string,
  act: (server: Objects | undefined, item: Item, options: Options) => Promise<Outcome>,
  ...more: CommandOption[]
): Command {
  return {
    name,
    summary,
    arguments: [],
    options: [...targetOptions, dryRunOption, formatOption, templateOption, ...more],
    run: async (_words, options, context) => {
      const tell = await tellerOf(options, context)
      const items = await itemsOf(options, context)
      return forEach(items, context, titleOfItem, async item => {
        warnOfFields(item, context)
        const server = options['dryRun'] === 'client' ? undefined : await context.objects()
        tell(item.kind, await act(server, item, options))
      })
    },
  }
}

/** Says what was done: a line, or with -o the object as it is now. */
export async function tellerOf(options: Options, context: Context): Promise<(kind: Kind, outcome: Outcome) => void> {
  const note = dryRunNote(options)
  if (options['output'] === undefined)
    return (kind, { word, object }) => context.out(`${refOf(kind, object.metadata.name)} ${word}${note}\n`)
  const printer = await printerOf(options, path => textOf(path, context))
  let before = 0
  return (kind, { object }) => {
    const shown = { kind, object }
    context.out(
      printer.line(shown, { single: true, withNamespace: false }, before++ > 0 || !printer.table ? [shown] : []),
    )
  }
}

/** A field that is kept and does nothing is told, so that nobody relies on it. */
export function warnOfFields({ kind, object }: Pick<Item, 'kind' | 'object'>, context: Context): void {
  for (const field of ineffectiveFields(kind, object))
    context.err(`${kind} ${object.metadata.name}: ${formatIneffective(field)}\n`)
}

/** Server-side: what the manifest names is set, and what an earlier one named and this one does not goes; the rest stays. */
async function apply(server: Objects | undefined, { kind, object, named }: Item, options: Options): Promise<Outcome> {
  const { name, namespace } = object.metadata
  if (server === undefined) return { word: 'applied', object: asObject(kind, object) }
  const before = await existing(server, kind, name, namespace)
  const after = await server.patch(kind, name, named, 'apply', { namespace, ...dryRunOf(options) })
  if (before === undefined) return { word: 'created', object: after }
  const same = after.metadata.resourceVersion === before.metadata.resourceVersion
  return { word: same ? 'unchanged' : 'configured', object: after }
}

async function existing(
  server: Objects,
  kind: Kind,
  name: string,
  namespace: string | undefined,
): Promise<AnyObject | undefined> {
  try {
    return await server.get(kind, name, namespace)
  } catch (error) {
    if (error instanceof NotFound) return undefined
    throw error
  }
}

/** The whole object is the manifest's then; over the version that the manifest names, if it names one. */
async function replace(server: Objects | undefined, { kind, object }: Item, options: Options): Promise<Outcome> {
  const whole = asObject(kind, object)
  return { word: 'replaced', object: (await server?.replace(kind, whole, dryRunOf(options))) ?? whole }
}

async function create(server: Objects | undefined, { kind, object }: Item, options: Options): Promise<Outcome> {
  const whole = asObject(kind, object)
  try {
    return { word: 'created', object: (await server?.create(kind, whole, dryRunOf(options))) ?? whole }
  } catch (error) {
    if (options['skipExists'] === true && error instanceof Conflict) return { word: 'skipped', object: whole }
    throw error
  }
}

function asObject(kind: Kind, object: Item['object']): AnyObject {
  return { apiVersion: apiVersion(kinds[kind]), kind, ...object } as AnyObject
}

/** What a line of outcome ends in where nothing was kept. */
export function dryRunNote({ dryRun }: Options): string {
  return dryRun === 'client' ? ' (dry run)' : dryRun === 'server' ? ' (server dry run)' : ''
}

/** What a request of such a run carries. */
export function dryRunOf(options: Options): { dryRun?: boolean } {
  return options['dryRun'] === 'server' ? { dryRun: true } : {}
}

async function patch(words: readonly string[], options: Options, context: Context): Promise<ExitCode> {
  const type = String(options['type']) as PatchType
  const given = await patchOf(options, type, context)
  const targets = await namedTargets(words, options, context)
  const tell = await tellerOf(options, context)
  // a faulty patch is told before the first object is changed
  const bodies = new Map(targets.map(({ kind }) => [kind, checkedPatch(kind, given)]))
  return forEach(targets, context, titleOf, async target => {
    const body = bodies.get(target.kind)
    const server = await context.objects()
    const { kind, name, namespace } = target
    const before = await server.get(kind, name, namespace)
    const after =
      options['dryRun'] === 'client'
        ? locallyPatched(before, body, type)
        : await server.patch(kind, name, body, sent(type, kind), { namespace, ...dryRunOf(options) })
    warnOfPatched(kind, after, context)
    const same = options['dryRun'] === 'none' && after.metadata.resourceVersion === before.metadata.resourceVersion
    tell(kind, { word: same ? 'patched (no change)' : 'patched', object: after })
  })
}

/** Of Calico's kinds no list merges by a key: strategic is the same as merge there, and a server refuses the name. */
function sent(type: PatchType, kind: Kind): PatchType {
  return type === 'strategic' && isCustom(kind) ? 'merge' : type
}

function locallyPatched(before: AnyObject, body: unknown, type: PatchType): AnyObject {
  if (type !== 'merge')
    throw new UsageError(`--dry-run=client works out merge patches alone: give --dry-run=server for --type ${type}`)
  return mergePatch(before, body) as AnyObject
}

/** An object that is not valid is the server's to judge: its fields cannot be looked through. */
function warnOfPatched(kind: Kind, object: AnyObject, context: Context): void {
  const { apiVersion: _version, kind: _kind, ...rest } = object
  const valid = validate(kind, rest)
  if (!Array.isArray(valid)) warnOfFields({ kind, object: valid }, context)
}

/** Calico's Node fields become what they are here; a field that nobody reads is refused. Steps of a JSON patch are the server's to check. */
function checkedPatch(kind: Kind, given: unknown): unknown {
  if (!isObject(given)) return given
  const { node: body, problems } = kind === 'Node' ? fromCalicoNode(given) : { node: given, problems: [] }
  const unknown = unknownFields(kind, body).map(path => formatUnknown(kind, path))
  const faults = [...(problems.length > 0 ? [formatProblems(problems)] : []), ...unknown]
  if (faults.length > 0) throw new UsageError(`the patch of ${kind}: ${faults.join('; ')}`)
  return body
}

async function patchOf(options: Options, type: PatchType, context: Context): Promise<unknown> {
  const { patch, patchFile } = options
  if ((patch === undefined) === (patchFile === undefined))
    throw new UsageError('give the patch with -p, such as -p \'{"spec":{"disabled":true}}\', or with --patch-file')
  const text = patch === undefined ? await textOf(String(patchFile), context) : String(patch)
  const body = parsedPatch(text)
  if (type === 'json' ? Array.isArray(body) : isObject(body)) return body
  throw new UsageError(
    type === 'json'
      ? 'a patch of --type json is a list, such as [{"op":"replace","path":"/spec/disabled","value":true}]'
      : 'the patch must be an object, such as {"spec":{"disabled":true}}',
  )
}

function parsedPatch(text: string): unknown {
  try {
    return parseYaml(text)[0]
  } catch (error) {
    throw new UsageError(`the patch cannot be read: ${(error as Error).message}`)
  }
}
