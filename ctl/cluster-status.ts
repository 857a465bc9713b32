// `node status` of all nodes, from any machine: a CalicoNodeStatus is made for each node, its agent fills it once
// (`updatePeriodSeconds: 0`), and it is deleted again. So nothing has to be reached but the API server, and nothing is kept
// up to date that nobody reads. Where a server cannot select by the node (crd.projectcalico.org/v1) each agent watches the one object
// that is called as its node, so these names are taken there.
import { randomBytes } from 'node:crypto'
import type { AnyObject } from '../api/lifecycle.ts'
import type { Objects } from '../datastore/objects.ts'
import { Conflict, NotFound } from '../datastore/port.ts'
import { systemClock } from '../lib/clock.ts'
import type { Context, Options } from './command.ts'
import { inTurns } from './each.ts'
import { Denied, EXIT, type ExitCode, UsageError } from './failure.ts'
import { wholeNumberOf } from './numbers.ts'
import { type Format, renderTable, show } from './render.ts'

const OWNER = { 'app.kubernetes.io/managed-by': 'margayctl' }
const RUN_LABEL = 'margay.io/asked-by'
/** What an earlier run left that was killed. */
const LEFT_MS = 600_000

type Part = {
  agent?: { birdV4?: { state?: string; version?: string; routerID?: string } }
  bgp?: {
    numberEstablishedV4?: number
    numberEstablishedV6?: number
    numberNotEstablishedV4?: number
    numberNotEstablishedV6?: number
    peersV4?: Peer[]
    peersV6?: Peer[]
  }
  lastUpdated?: string
}
/** Why a node was not asked. */
type Unasked = { unasked: string }
type Peer = { peerIP: string; state: string; type: string; since: string }

type NodeReport = {
  node: string
  /** undefined: its agent did not answer in time. */
  ready?: boolean
  version?: string
  routerID?: string
  established?: number
  peers?: number
  /** Peers that are not up. */
  down?: Peer[]
  /** Why it was not asked. */
  unasked?: string
  /** Why it serves no pods, as its Node object says. */
  why?: string
}

/** Asks all nodes, or those of `names`; exit code 1 unless each one is ready. Rejects with UsageError for an unknown name. */
export async function clusterStatus(names: readonly string[], options: Options, context: Context): Promise<ExitCode> {
  const seconds = wholeNumberOf(options, 'timeout', 1, 600)
  const server = await context.objects()
  const all = await server.list('Node')
  const unknown = names.filter(name => !all.some(({ metadata }) => metadata.name === name))
  if (unknown.length > 0) throw new UsageError(`there is no Node ${unknown.join(', ')}: list them with get nodes`)
  const nodes = names.length === 0 ? all : all.filter(({ metadata }) => names.includes(metadata.name))
  const answers = await asked(
    server,
    nodes.map(({ metadata }) => metadata.name),
    seconds * 1000,
  )
  const reports = nodes.map(node => reportOf(node, answers.get(node.metadata.name)))
  context.out(show({ nodes: reports }, options['output'] as Format, format => render(reports, format === 'wide')))
  return reports.every(({ ready }) => ready === true) ? EXIT.fine : EXIT.no
}

/** The status of each node that answered in time. */
async function asked(
  server: Objects,
  nodes: readonly string[],
  timeoutMs: number,
): Promise<Map<string, Part | Unasked>> {
  const run = randomBytes(5).toString('hex')
  const answers = new Map<string, Part | Unasked>()
  const complete = Promise.withResolvers<void>()
  const answer = (node: string, part: Part | Unasked): void => {
    answers.set(node, part)
    if (answers.size === nodes.length) complete.resolve()
  }
  const take = ({ spec, status }: AnyObject): void => {
    if ((status as Part | undefined)?.lastUpdated === undefined) return
    answer(String((spec as { node?: unknown }).node), status as Part)
  }
  const watch = server.watch(
    'CalicoNodeStatus',
    event => {
      if (event.type === 'sync') for (const item of event.items) take(item)
      else if (event.type === 'set') take(event.item)
    },
    { labelSelector: `${RUN_LABEL}=${run}` },
  )
  const made: string[] = []
  try {
    const byNode = (await server.apiGroup()) === 'v1'
    await inTurns(nodes, async (node, i) => {
      const metadata = { name: byNode ? node : `margayctl-${run}-${i}`, labels: { ...OWNER, [RUN_LABEL]: run } }
      const spec = { node, classes: ['Agent', 'BGP'], updatePeriodSeconds: 0 }
      if (await asks(server, { metadata, spec })) made.push(metadata.name)
      else answer(node, { unasked: `somebody keeps a CalicoNodeStatus ${node}: read its status, or delete it` })
    })
    const cancel = systemClock.after(timeoutMs, () => complete.resolve())
    if (nodes.length > 0) await complete.promise
    cancel()
  } catch (error) {
    if (!(error instanceof NotFound)) throw error
    throw new Denied('the server does not know CalicoNodeStatus. Apply the CRDs of this version: manifests/crds.yaml.')
  } finally {
    watch.close()
    await inTurns([...made, ...(await leftBehind(server))], name => removed(server, name))
  }
  return answers
}

/** Makes the object that asks a node, also over one that a run of this program left. Whether it is there: not over somebody's own. */
async function asks(server: Objects, object: AnyObject): Promise<boolean> {
  const { name } = object.metadata
  for (const isLast of [false, true])
    try {
      await server.create('CalicoNodeStatus', object)
      return true
    } catch (error) {
      if (!(error instanceof Conflict)) throw error
      const there = await server.list('CalicoNodeStatus', { fieldSelector: `metadata.name=${name}` })
      const isOurs = there.every(({ metadata }) =>
        Object.entries(OWNER).every(([key, value]) => metadata.labels?.[key] === value),
      )
      if (isLast || !isOurs) return false
      await removed(server, name)
    }
  return false
}

/** Names of objects that a run of long ago made. */
async function leftBehind(server: Objects): Promise<string[]> {
  const labelSelector = Object.entries(OWNER)
    .map(([key, value]) => `${key}=${value}`)
    .join(',')
  const objects = await server.list('CalicoNodeStatus', { labelSelector }).catch(() => [])
  const old = systemClock.wallMs() - LEFT_MS
  return objects
    .filter(({ metadata }) => Date.parse(metadata.creationTimestamp ?? '') < old)
    .map(({ metadata }) => metadata.name)
}

async function removed(server: Objects, name: string): Promise<void> {
  try {
    await server.delete('CalicoNodeStatus', name)
  } catch (error) {
    if (!(error instanceof NotFound)) throw error
  }
}

function reportOf(node: AnyObject, part: Part | Unasked | undefined): NodeReport {
  const { name } = node.metadata
  const why = whyUnavailable(node)
  const reason = why === undefined ? {} : { why }
  if (part === undefined) return { node: name, ...reason }
  if ('unasked' in part) return { node: name, ...reason, unasked: part.unasked }
  const { birdV4: { state, version, routerID } = {} } = part.agent ?? {}
  const { numberEstablishedV4: up4 = 0, numberEstablishedV6: up6 = 0, ...bgp } = part.bgp ?? {}
  const { numberNotEstablishedV4: down4 = 0, numberNotEstablishedV6: down6 = 0, peersV4 = [], peersV6 = [] } = bgp
  const down = [...peersV4, ...peersV6].filter(peer => peer.state !== 'Established')
  return {
    ...{ node: name, ready: state === 'Ready', ...(version && { version }), ...(routerID && { routerID }) },
    ...{ established: up4 + up6, peers: up4 + up6 + down4 + down6, down, ...reason },
  }
}

/** What the agent wrote into its Node object when it stopped serving pods. */
function whyUnavailable({ status }: AnyObject): string | undefined {
  const { conditions = [] } = (status ?? {}) as { conditions?: { type: string; status: string; message?: string }[] }
  return conditions.find(({ type, status: is }) => type === 'NetworkUnavailable' && is === 'True')?.message
}

function render(reports: readonly NodeReport[], wide: boolean): string {
  if (reports.length === 0) return 'No nodes.\n'
  return renderTable(
    ['NODE', 'READY', 'PEERS UP', ...(wide ? ['ROUTER ID', 'VERSION'] : []), 'REASON'],
    reports.map(({ node, ready, established = 0, peers = 0, routerID = '', version = '', down = [], why, unasked }) => [
      node,
      unasked !== undefined ? 'not asked' : ready === undefined ? 'no answer' : ready ? 'yes' : 'no',
      ready === undefined ? '' : `${established}/${peers}`,
      ...(wide ? [routerID, version] : []),
      [
        ...(why === undefined ? [] : [why]),
        ...(ready === undefined ? [unasked ?? 'is its agent running? Look at its pod of margay-node'] : []),
        ...down.slice(0, 3).map(({ peerIP, state }) => `${peerIP} is ${state}`),
        ...(down.length > 3 ? [`and ${down.length - 3} more`] : []),
      ].join('; '),
    ]),
  )
}
