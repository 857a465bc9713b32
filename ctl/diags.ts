// `cluster diags`: one archive with what somebody needs who helps from afar: objects, what agents say, logs, versions.
// Whatever cannot be had is named in summary.txt and stops nothing. Secrets are removed (redaction.ts); Secret objects are
// never asked for.
import { isCustom, type Kind, kinds } from '../api/kinds.ts'
import type { AnyObject } from '../api/lifecycle.ts'
import { isObject } from '../api/merge-patch.ts'
import type { Objects } from '../datastore/objects.ts'
import { packageVersion } from '../lib/package-files.ts'
import { textWithoutSecrets } from '../lib/redaction-text.ts'
import { Agents } from './agents.ts'
import { Archive } from './archive.ts'
import type { Command, Context, Options } from './command.ts'
import { inTurns } from './each.ts'
import { type ExitCode, failureOf } from './failure.ts'
import { collectNode, DIAGS_THERE, NODE_FILES, nodeFileLine } from './node-diags.ts'
import { wholeNumberOf } from './numbers.ts'
import { withoutSecrets } from './redaction.ts'
import { parsedJson, socketOption } from './socket.ts'
import { emitYaml } from './yaml.ts'

export const clusterCommands: readonly Command[] = [
  {
    name: 'cluster diags',
    summary:
      'Write an archive with objects, states, logs and versions of the cluster, and node diags of each node that may be asked, for somebody who helps; secrets are removed',
    arguments: [{ name: '[nodes...]', summary: 'nodes whose agents are asked; all without' }],
    options: [
      { flags: '--file <file>', summary: 'the archive, which must not be there yet', default: 'margay-diags.tar.gz' },
      { flags: '--tail <lines>', summary: 'lines of each log', default: '5000' },
      { flags: '-n, --namespace <name>', summary: 'where Margay is installed', default: 'kube-system' },
      socketOption,
    ],
    run: diags,
  },
]

/** Kubernetes' own objects that say how Margay runs, by their paths; the label is on everything of an installation. */
const LABEL = 'labelSelector=app.kubernetes.io%2Fpart-of%3Dmargay'
const INSTALLATION: readonly [name: string, path: (namespace: string) => string][] = [
  ['daemonsets', namespace => `/apis/apps/v1/namespaces/${namespace}/daemonsets?${LABEL}`],
  ['deployments', namespace => `/apis/apps/v1/namespaces/${namespace}/deployments?${LABEL}`],
  ['configmaps', namespace => `/api/v1/namespaces/${namespace}/configmaps?${LABEL}`],
  ['replicasets', namespace => `/apis/apps/v1/namespaces/${namespace}/replicasets?${LABEL}`],
  ['pods', namespace => `/api/v1/namespaces/${namespace}/pods?${LABEL}`],
  // events have no labels: those of the objects above are picked out
  ['events', namespace => `/api/v1/namespaces/${namespace}/events`],
  ['events-of-nodes', () => '/api/v1/namespaces/default/events?fieldSelector=involvedObject.kind%3DNode'],
]
/** Of one log at most so many octets: a line may be of any length. */
const LOG_OCTETS = 8 * 1024 * 1024

/** Of what nodes say so many characters are kept in all, and of each. */
const MOST_OF_NODES = 256 << 20
const MOST_OF_NODE = 32 << 20
/** A node reads its kernel and its recorder meanwhile. */
const NODE_SECONDS = '60'

async function diags(words: readonly string[], options: Options, context: Context): Promise<ExitCode> {
  const path = String(options['file'])
  const tail = wholeNumberOf(options, 'tail', 1, 1_000_000)
  const all = new Archive('margay-diags')
  const server = await context.objects()
  await all.collect('versions.yaml', async () => {
    const api = await server.read('/version')
    return emitYaml(withoutSecrets({ margayctl: packageVersion(), node: process.versions.node, api }))
  })
  for (const kind of Object.keys(kinds) as Kind[])
    if (isCustom(kind) || kind === 'Node')
      await all.collect(`objects/${kinds[kind].plural}.yaml`, async () => objectsText(await server.list(kind)))
  const pods = await installation(all, server, String(options['namespace']))
  await logs(all, server, { namespace: String(options['namespace']), pods, tail })
  await collectNode(all, 'agent/', options)
  await nodes(all, words, options, context)
  await all.write(path, context)
  return all.code
}

/** What `node diags` has, of each node that may be asked. */
async function nodes(all: Archive, names: readonly string[], options: Options, context: Context): Promise<void> {
  let left = MOST_OF_NODES
  const agents = new Agents(names, { margayNamespace: options['namespace'], timeout: NODE_SECONDS }, context)
  try {
    await inTurns(await agents.pods(), async pod => {
      // it is part of a path here, and of a table
      const folder = `nodes/${pod.node.replace(/[^A-Za-z0-9.-]/g, '_')}`
      const files = new Map<string, string>()
      let room = MOST_OF_NODE
      try {
        if (left <= 0) throw new Error('left out: the archive is full; name nodes that matter')
        await agents.all(pod, [DIAGS_THERE], text => {
          const line = nodeFileLine.safeParse(parsedJson(text)).data
          if (line === undefined || !NODE_FILES.includes(line.path)) return
          if ('fault' in line) all.note(`${folder}/${line.path}`, line.fault)
          else {
            room -= line.piece.length
            if (room >= 0) files.set(line.path, `${files.get(line.path) ?? ''}${line.piece}`)
          }
        })
      } catch (error) {
        all.note(folder, (error as Error).message)
      }
      if (room < 0) all.note(folder, 'it says more than is taken of one node: the rest is left out')
      for (const [path, text] of files) all.add(`${folder}/${path}`, text)
      left -= MOST_OF_NODE - room
    })
  } catch (error) {
    all.note('nodes', failureOf(error).message)
  }
}

function objectsText(objects: readonly unknown[]): string {
  return emitYaml({ apiVersion: 'v1', kind: 'List', items: objects.map(object => withoutSecrets(object)) })
}

/** The installation's own objects; its pods are returned, for their logs. */
async function installation(all: Archive, server: Objects, namespace: string): Promise<AnyObject[]> {
  let pods: AnyObject[] = []
  const ours = new Set<string>()
  for (const [name, path] of INSTALLATION)
    await all.collect(`installation/${name}.yaml`, async () => {
      const list = await server.read(path(namespace))
      const items = isObject(list) && Array.isArray(list['items']) ? (list['items'] as AnyObject[]) : []
      if (name === 'events') return objectsText(items.filter(event => ours.has(keyOfInvolved(event))))
      if (name === 'pods') pods = items
      for (const { metadata } of items) ours.add(`${KIND_OF[name]}/${metadata.name}`)
      return objectsText(items)
    })
  return pods
}

const KIND_OF: Readonly<Record<string, string>> = {
  ...{ daemonsets: 'DaemonSet', deployments: 'Deployment', configmaps: 'ConfigMap' },
  ...{ replicasets: 'ReplicaSet', pods: 'Pod' },
}

function keyOfInvolved(event: unknown): string {
  const involved = isObject(event) && isObject(event['involvedObject']) ? event['involvedObject'] : {}
  return `${String(involved['kind'])}/${String(involved['name'])}`
}

type Containers = { containers?: { name: string }[]; initContainers?: { name: string }[] }

async function logs(
  all: Archive,
  server: Objects,
  { namespace, pods, tail }: { namespace: string; pods: readonly AnyObject[]; tail: number },
): Promise<void> {
  for (const { metadata, spec } of pods) {
    const { containers = [], initContainers = [] } = (spec ?? {}) as Containers
    for (const { name } of [...initContainers, ...containers])
      for (const previous of [false, true]) {
        const query = `container=${encodeURIComponent(name)}&tailLines=${tail}&limitBytes=${LOG_OCTETS}&timestamps=true`
        const path = `/api/v1/namespaces/${namespace}/pods/${encodeURIComponent(metadata.name)}/log?${query}&previous=${previous}`
        const file = `logs/${metadata.name}/${name}${previous ? '.previous' : ''}.log`
        await all.collect(file, async () => textWithoutSecrets(await server.text(path)))
      }
  }
}
