// `bgp preview`: what a manifest would do to the BGP sessions and announcements of all nodes, worked out from the objects of the
// cluster as the agents do it, before anything is written. Hazard: of a mesh every node is worked out against all others.
import {
  type NodeBgp,
  type NodePreview,
  nodeBgp,
  nodesOf,
  POD_KINDS,
  podsOf,
  previewOf,
  type ReadNodes,
} from '../agent/cluster/preview.ts'
import type { Kind, Resource } from '../api/kinds.ts'
import { formatRef } from '../api/status.ts'
import { NotFound } from '../datastore/port.ts'
import { ownerOf } from '../ipam/block-owners.ts'
import { type Command, type Context, type Options, outputOption } from './command.ts'
import { EXIT, type ExitCode, UsageError } from './failure.ts'
import { type Item, titleOfOther } from './manifest.ts'
import { KnownObjects, validOnes } from './objects-with.ts'
import { type Format, renderTable, show } from './render.ts'
import { itemsOf, targetOptions } from './targets.ts'

/** What sessions and announcements are made of. */
const KINDS = [
  ...(['Node', 'BGPPeer', 'BGPFilter', 'BGPConfiguration', 'IPPool', 'ClusterInformation'] as const),
  ...POD_KINDS,
] satisfies readonly Kind[]
type BgpKind = (typeof KINDS)[number]

export const bgpPreviewCommand: Command = {
  name: 'bgp preview',
  summary:
    'Say what a manifest would do to BGP sessions and announcements of all nodes, or of those that are named (of Services their ranges, not single addresses; of pods that are peers of their nodes the first interface), and write nothing; exit code 1 when a session would end or be reset, or something would be refused; objects of other kinds are named and passed over',
  arguments: [{ name: '[nodes...]', summary: 'default: all' }],
  options: [
    ...targetOptions,
    { flags: '--delete', summary: 'what it would do to delete the objects that the manifest names' },
    outputOption,
  ],
  run: preview,
}

type Preview = NodePreview & { node: string }

async function preview(names: readonly string[], options: Options, context: Context): Promise<ExitCode> {
  const items = await bgpItemsOf(options, context)
  const before = await objectsOf(context, items)
  const after = before.with(items, { deletes: options['delete'] === true })
  const were = nodesOf(before)
  const are = nodesOf(after, were)
  const all = [...new Set([...were.facts.keys(), ...are.facts.keys()])].sort()
  const unknown = names.filter(name => !all.includes(name))
  if (unknown.length > 0) throw new UsageError(`there is no Node ${unknown.join(', ')}: list them with get nodes`)
  const blocks = await blocksOf(context)
  const worldOf = (nodes: ReadNodes, objects: Objects) => {
    const pods = podsOf(objects)
    return (node: string): NodeBgp | undefined =>
      nodeBgp(node, nodes, objects, { blocks: blocks.get(node) ?? [], pods: pods.get(node) ?? [] })
  }
  const [was, is] = [worldOf(were, before), worldOf(are, after)]
  const previews = (names.length === 0 ? all : names).flatMap((node): Preview[] => {
    const found = previewOf(was(node), is(node))
    return Object.values(found).every(each => each.length === 0) ? [] : [{ node, ...found }]
  })
  context.out(show({ nodes: previews }, options['output'] as Format, () => render(previews)))
  const stops = previews.some(
    ({ sessions, refused }) => refused.length > 0 || sessions.some(({ change }) => ['ends', 'resets'].includes(change)),
  )
  return stops ? EXIT.no : EXIT.fine
}

/** The manifests' objects of `KINDS`; of others a note. A Secret says nothing either: passwords are taken to be there. */
async function bgpItemsOf(options: Options, context: Context): Promise<Item[]> {
  const others: string[] = []
  const items = await itemsOf(options, context, document => {
    const title = titleOfOther(document, KINDS)
    if (title !== undefined) others.push(title)
    return title !== undefined
  })
  if (others.length === 0) return items
  const why = `sessions depend on ${KINDS.join(', ')} alone`
  if (items.length === 0) throw new UsageError(`${others.join(', ')}: ${why}; give a manifest of these`)
  context.note(`Passed over, since ${why}: ${others.join(', ')}.\n`)
  return items
}

type Objects = KnownObjects<BgpKind>

/** The valid objects of the cluster: agents use no others. Those of `POD_KINDS`, of which there may be very many, where they matter. */
async function objectsOf(context: Context, items: readonly Item[]): Promise<Objects> {
  const server = await context.objects()
  const list = async (kind: BgpKind) => {
    const listed = await server.list(kind).catch(error => noFilters(kind, error))
    return [kind, validOnes(kind, listed)] as const
  }
  const isOfPods = (kind: BgpKind) => (POD_KINDS as readonly Kind[]).includes(kind)
  const byKind = new Map(await Promise.all(KINDS.filter(kind => !isOfPods(kind)).map(list)))
  const asked = items.flatMap(({ kind, object }) => (kind === 'BGPPeer' ? [object] : []))
  const peers = [...byKind.get('BGPPeer')!.values(), ...asked] as Resource<'BGPPeer'>[]
  const selectsPods = peers.some(({ spec }) => spec.localWorkloadSelector !== undefined)
  const isNamed = (kind: Kind) => items.some(item => item.kind === kind)
  const others = await Promise.all(KINDS.filter(kind => isOfPods(kind) && (selectsPods || isNamed(kind))).map(list))
  return new KnownObjects(new Map([...byKind, ...others]))
}

/** Agents do without the kind on a server that lacks it, too. */
function noFilters(kind: Kind, error: unknown): [] {
  if (kind === 'BGPFilter' && error instanceof NotFound) return []
  throw error
}

/** The CIDRs of the blocks of each node. */
async function blocksOf(context: Context): Promise<ReadonlyMap<string, string[]>> {
  const blocks = new Map<string, string[]>()
  for (const object of await (await context.objects()).list('IPAMBlock')) {
    const { spec } = object as Resource<'IPAMBlock'>
    const node = ownerOf({ spec })
    if (node !== undefined) blocks.set(node, [...(blocks.get(node) ?? []), spec.cidr])
  }
  return blocks
}

/** Nothing is told of nodes for which nothing changes. Pure. */
function render(previews: readonly Preview[]): string {
  if (previews.length === 0) return 'Nothing would change.\n'
  const sessions = previews.flatMap(({ node, sessions }) =>
    sessions.map(({ name, address, pod, change, because }) => {
      const place = pod === undefined ? address : `${address} (${pod})`
      return [node, name, place, change, because.join('; ')]
    }),
  )
  const announced = previews.flatMap(({ node, announced }) =>
    announced.map(({ prefix, change, because }) => [node, prefix, change, because]),
  )
  const refused = previews.flatMap(({ node, refused }) =>
    refused.map(({ object, reason, message, remedy }) => [
      node,
      object === undefined ? '' : formatRef(object),
      reason,
      message,
      remedy,
    ]),
  )
  return [
    ...(sessions.length > 0 ? [renderTable(['NODE', 'SESSION', 'ADDRESS', 'CHANGE', 'BECAUSE'], sessions)] : []),
    ...(announced.length > 0 ? [renderTable(['NODE', 'PREFIX', 'CHANGE', 'BECAUSE'], announced)] : []),
    ...(refused.length > 0 ? [renderTable(['NODE', 'OBJECT', 'REASON', 'MESSAGE', 'REMEDY'], refused)] : []),
  ].join('\n')
}
