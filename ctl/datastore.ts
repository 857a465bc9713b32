// `datastore export|import|lock|unlock`: all of Calico's resources as one file, IPAM included, from one cluster into
// another. The lock is ClusterInformation's `datastoreReady: false`, which every agent heeds: it claims and writes nothing,
// and its pods keep their network.

import { emitJson, sameJson } from '../api/json.ts'
import { apiVersion, isCustom, type Kind, kinds } from '../api/kinds.ts'
import type { AnyObject } from '../api/lifecycle.ts'
import type { Objects } from '../datastore/objects.ts'
import { Conflict, NotFound } from '../datastore/port.ts'
import type { Command, Context, Options } from './command.ts'
import { forEach } from './each.ts'
import { Denied, EXIT, type ExitCode } from './failure.ts'
import type { Item } from './manifest.ts'
import { refOf } from './output/columns.ts'
import { fileOption, itemsOf, titleOf } from './targets.ts'
import { emitYaml } from './yaml.ts'

export const datastoreCommands: readonly Command[] = [
  {
    name: 'datastore export',
    summary: 'Print all of Calico’s resources, IPAM included, for `datastore import`; lock it before',
    arguments: [],
    options: [
      { flags: '-o, --output <format>', summary: 'how to print it', default: 'yaml', choices: ['yaml', 'json'] },
    ],
    run: exportAll,
  },
  {
    name: 'datastore import',
    summary: 'Create what `datastore export` printed, in the order in which objects need each other',
    arguments: [],
    options: [fileOption, { flags: '--overwrite', summary: 'also replace what is there and says something else' }],
    run: importAll,
  },
  {
    name: 'datastore lock',
    summary: 'Let no node claim addresses or write IPAM until `datastore unlock`; pods keep their network',
    arguments: [],
    options: [],
    run: (_words, _options, context) => setReady(false, context),
  },
  {
    name: 'datastore unlock',
    summary: 'End what `datastore lock` began',
    arguments: [],
    options: [],
    run: (_words, _options, context) => setReady(true, context),
  },
]

/** The lock comes before everything that agents act on; what names others comes after them, and blocks last. */
const FIRST: readonly string[] = [
  'ClusterInformation',
  'Tier',
  'IPPool',
  'IPReservation',
  'IPAMConfiguration',
  'BGPFilter',
]
const LAST: readonly string[] = ['IPAMHandle', 'BlockAffinity', 'IPAMBlock', 'Node']
/** Made by programs from what is asked at the time: no state to keep. */
const NOT_KEPT: readonly string[] = ['CalicoNodeStatus']

/** The kinds that are exported, in the order in which they are imported. */
function exportedKinds(): Kind[] {
  const rank = (kind: Kind): number => {
    const [first, last] = [FIRST.indexOf(kind), LAST.indexOf(kind)]
    return first >= 0 ? first : FIRST.length + (last >= 0 ? 1 + last : 0)
  }
  return (Object.keys(kinds) as Kind[])
    .filter(kind => (isCustom(kind) || kind === 'Node') && !NOT_KEPT.includes(kind))
    .toSorted((a, b) => rank(a) - rank(b))
}

async function exportAll(_words: readonly string[], options: Options, context: Context): Promise<ExitCode> {
  const server = await context.objects()
  const items: object[] = []
  for (const kind of exportedKinds()) {
    const objects = await listed(server, kind)
    items.push(...objects.map(object => exported(kind, object)).filter(object => object !== undefined))
    if (kind === 'ClusterInformation' && !objects.some(isLocked))
      context.err(
        'the datastore is not locked: addresses that pods get while this runs may be missing. Run `datastore lock` before.\n',
      )
  }
  const list = { apiVersion: 'v1', kind: 'List', items }
  context.out(options['output'] === 'json' ? `${emitJson(list, 2)}\n` : emitYaml(list))
  return EXIT.fine
}

/** A server that does not serve a kind has no objects of it. */
async function listed(server: Objects, kind: Kind): Promise<AnyObject[]> {
  try {
    return await server.list(kind)
  } catch (error) {
    if (error instanceof NotFound) return []
    throw error
  }
}

function isLocked({ spec }: AnyObject): boolean {
  return (spec as { datastoreReady?: unknown } | undefined)?.datastoreReady === false
}

const KEPT_METADATA = ['name', 'namespace', 'labels', 'annotations', 'finalizers']
const LAST_APPLIED = 'kubectl.kubernetes.io/last-applied-configuration'

/** Without what belongs to one cluster, and without status. Of a Node its Calico data alone; undefined when it has none. */
function exported(kind: Kind, { metadata, status: _status, ...rest }: AnyObject): object | undefined {
  const all = Object.entries(metadata.annotations ?? {}).filter(([key]) => key !== LAST_APPLIED)
  if (kind === 'Node') {
    const ours = all.filter(([key]) => key.startsWith('projectcalico.org/'))
    if (ours.length === 0) return undefined
    const { name } = metadata
    return { apiVersion: 'v1', kind, metadata: { name, annotations: Object.fromEntries(ours) } }
  }
  const kept = Object.entries(metadata).filter(([field]) => KEPT_METADATA.includes(field) && field !== 'annotations')
  const annotations = all.length === 0 ? {} : { annotations: Object.fromEntries(all) }
  return {
    ...{ apiVersion: apiVersion(kinds[kind]), kind },
    ...rest,
    metadata: { ...Object.fromEntries(kept), ...annotations },
  }
}

async function importAll(_words: readonly string[], options: Options, context: Context): Promise<ExitCode> {
  const order = exportedKinds()
  const items = (await itemsOf(options, context)).toSorted((a, b) => order.indexOf(a.kind) - order.indexOf(b.kind))
  const server = await context.objects()
  const title = ({ kind, object }: Item): string => titleOf({ kind, name: object.metadata.name })
  const code = await forEach(items, context, title, async item => {
    const word = item.kind === 'Node' ? await annotated(server, item) : await imported(server, item, options)
    context.out(`${refOf(item.kind, item.object.metadata.name)} ${word}\n`)
  })
  if (items.some(({ kind, object }) => kind === 'ClusterInformation' && isLocked(object as AnyObject)))
    context.note(
      'The datastore is locked, as it was when it was exported: run `datastore unlock` when all nodes may go on.\n',
    )
  return code
}

async function imported(server: Objects, { kind, object }: Item, options: Options): Promise<string> {
  const whole = object as AnyObject
  try {
    await server.create(kind, whole)
    return 'created'
  } catch (error) {
    if (!(error instanceof Conflict)) throw error
    const { name, namespace } = whole.metadata
    const there = await server.get(kind, name, namespace)
    if (sameJson(there.spec, whole.spec)) return 'unchanged'
    if (options['overwrite'] !== true)
      throw new Denied(
        `${kind} ${name} is there and says something else. Delete it, or give --overwrite to replace it.`,
      )
    await server.replace(kind, whole)
    return 'replaced'
  }
}

/** Nodes are made by kubelets: one that is not there yet cannot have its annotations. */
async function annotated(server: Objects, { object }: Item): Promise<string> {
  const { name, annotations } = object.metadata
  try {
    await server.patch('Node', name, { metadata: { annotations } }, 'merge')
    return 'annotated'
  } catch (error) {
    if (!(error instanceof NotFound)) throw error
    return 'skipped: there is no such Node'
  }
}

async function setReady(datastoreReady: boolean, context: Context): Promise<ExitCode> {
  const server = await context.objects()
  const metadata = { name: 'default' }
  try {
    await server.patch('ClusterInformation', 'default', { spec: { datastoreReady } }, 'merge')
  } catch (error) {
    if (!(error instanceof NotFound)) throw error
    await server.create('ClusterInformation', { metadata, spec: { datastoreReady } })
  }
  context.out(
    datastoreReady
      ? 'The datastore is unlocked.\n'
      : 'The datastore is locked: nodes claim no addresses and write no IPAM. Pods keep their network; new ones get addresses of blocks that their node has.\n',
  )
  return EXIT.fine
}
