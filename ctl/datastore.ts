// `datastore export|import|lock|unlock`: all of Calico's resources as one file, IPAM included, from one cluster into
// another. The lock is ClusterInformation's `datastoreReady: false`, which every agent heeds: it claims and writes nothing,
// and its pods keep their network.

import { setTimeout as sleep } from 'node:timers/promises'
import { isLocked } from '../api/datastore-lock.ts'
import { sameJson } from '../api/json.ts'
import { apiVersion, isCustom, type Kind, kinds } from '../api/kinds.ts'
import type { AnyObject } from '../api/lifecycle.ts'
import type { Objects } from '../datastore/objects.ts'
import { Conflict, NotFound } from '../datastore/port.ts'
import type { Command, Context, Options } from './command.ts'
import { forEach } from './each.ts'
import { Denied, EXIT, type ExitCode, worst } from './failure.ts'
import type { Item } from './manifest.ts'
import { wholeNumberOf } from './numbers.ts'
import { refOf } from './output/columns.ts'
import { renderValue } from './render.ts'
import { fileOption, itemsOf, titleOfItem } from './targets.ts'

/** Nodes may still claim and publish for two seconds after they saw the lock. */
const WAIT_OPTION = {
  flags: '--wait <seconds>',
  summary: 'how long to wait for the nodes after the lock',
  default: '5',
}

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
    summary:
      'Lock this datastore, then create what `datastore export` printed, in the order in which objects need each other',
    arguments: [],
    options: [
      WAIT_OPTION,
      fileOption,
      { flags: '--overwrite', summary: 'also replace what is there and says something else' },
    ],
    run: importAll,
  },
  {
    name: 'datastore lock',
    summary:
      'Let no node claim addresses or write IPAM until `datastore unlock`; pods keep their network. Nodes publish first what they have not published, for two seconds at the most, and this waits for them. What a node cannot publish in that time, or while it does not reach the server, and pods that start later, are missing in an export',
    arguments: [],
    options: [WAIT_OPTION],
    run: lock,
  },
  {
    name: 'datastore unlock',
    summary: 'End what `datastore lock` began',
    arguments: [],
    options: [],
    run: (_words, _options, context) => setReady(true, context),
  },
]

/** What names others comes after them, and blocks last. */
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
    for (const object of objects) {
      const item = exported(kind, object)
      if (item !== undefined) items.push(item)
    }
    if (kind === 'ClusterInformation' && !objects.some(isLocked))
      context.err(
        'the datastore is not locked: addresses that pods get while this runs may be missing. Run `datastore lock` before.\n',
      )
  }
  const list = { apiVersion: 'v1', kind: 'List', items }
  context.out(renderValue(list, options['output'] as 'yaml' | 'json'))
  return EXIT.fine
}

/** A server that does not serve a kind has no objects of it. One that cannot be read whole ends the export: nobody would miss its labels. */
async function listed(server: Objects, kind: Kind): Promise<AnyObject[]> {
  try {
    return await server.listWhole(kind)
  } catch (error) {
    if (error instanceof NotFound) return []
    throw error
  }
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

/**
 * The target is locked before anything else, and stays as it is where that fails. Its ClusterInformation is its own: the
 * exported one, which names another cluster, is neither compared nor written.
 */
async function importAll(_words: readonly string[], options: Options, context: Context): Promise<ExitCode> {
  const seconds = wholeNumberOf(options, 'wait', 0, 3600)
  const order = exportedKinds()
  const items = (await itemsOf(options, context))
    .filter(({ kind }) => kind !== 'ClusterInformation')
    .toSorted((a, b) => order.indexOf(a.kind) - order.indexOf(b.kind))
  const server = await context.objects()
  await writeReady(server, false)
  context.out(`${refOf('ClusterInformation', 'default')} locked\n`)
  // what nodes still claim or publish is there before the first object, and not written over by one or in its way later
  await sleep(seconds * 1000)
  const code = await forEach(items, context, titleOfItem, async item => {
    const word = item.kind === 'Node' ? await annotated(server, item) : await imported(server, item, options)
    context.out(`${refOf(item.kind, item.object.metadata.name)} ${word}\n`)
  })
  const locked = isLocked(await server.get('ClusterInformation', 'default'))
  if (locked) context.note('The datastore is locked for the import: run `datastore unlock` when all nodes may go on.\n')
  else
    context.err(
      'ClusterInformation default: somebody unlocked the datastore during the import, and nodes may have claimed addresses that are imported. Run `datastore lock` and import again, then `ipam check`.\n',
    )
  return locked ? code : worst([code, EXIT.no])
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

async function lock(_words: readonly string[], options: Options, context: Context): Promise<ExitCode> {
  const seconds = wholeNumberOf(options, 'wait', 0, 3600)
  const code = await setReady(false, context)
  await sleep(seconds * 1000)
  return code
}

async function setReady(datastoreReady: boolean, context: Context): Promise<ExitCode> {
  await writeReady(await context.objects(), datastoreReady)
  context.out(
    datastoreReady
      ? 'The datastore is unlocked.\n'
      : 'The datastore is locked: nodes claim no addresses and write no IPAM. Pods keep their network; new ones get addresses of blocks that their node has.\n',
  )
  return EXIT.fine
}

/** Sets the field alone, so that another's ClusterInformation stays what it is. Rejects with the four classes of the port. */
async function writeReady(server: Objects, datastoreReady: boolean): Promise<void> {
  const patch = async (): Promise<unknown> =>
    server.patch('ClusterInformation', 'default', { spec: { datastoreReady } }, 'merge')
  try {
    await patch()
  } catch (error) {
    if (!(error instanceof NotFound)) throw error
    try {
      await server.create('ClusterInformation', { metadata: { name: 'default' }, spec: { datastoreReady } })
    } catch (failure) {
      // the controllers make it when they start
      if (!(failure instanceof Conflict)) throw failure
      await patch()
    }
  }
}
