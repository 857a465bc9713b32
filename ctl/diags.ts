// `cluster diags`: one archive with what somebody needs who helps from afar: objects, what agents say, logs, versions.
// Whatever cannot be had is named in summary.txt and stops nothing. Secrets are removed (redaction.ts); Secret objects are
// never asked for.
import { open } from 'node:fs/promises'
import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import * as z from 'zod'
import { isCustom, type Kind, kinds } from '../api/kinds.ts'
import type { AnyObject } from '../api/lifecycle.ts'
import { isObject } from '../api/merge-patch.ts'
import type { Objects } from '../datastore/objects.ts'
import { packageVersion } from '../lib/package-files.ts'
import { textWithoutSecrets } from '../lib/redaction-text.ts'
import { tarArchive } from '../lib/tar.ts'
import type { Command, Context, Options } from './command.ts'
import { EXIT, type ExitCode, failureOf, UsageError } from './failure.ts'
import { wholeNumberOf } from './numbers.ts'
import { withoutSecrets } from './redaction.ts'
import { renderValue } from './render.ts'
import { ask, socketOption } from './socket.ts'
import { visible } from './visible.ts'
import { emitYaml } from './yaml.ts'

export const clusterCommands: readonly Command[] = [
  {
    name: 'cluster diags',
    summary:
      'Write an archive with objects, states, logs and versions of the cluster for somebody who helps; secrets are removed',
    arguments: [],
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

type Collection = {
  files: { path: string; content: Uint8Array; mode: number }[]
  lines: string[]
  /** The worst failure so far. */
  code: ExitCode
}

async function diags(_words: readonly string[], options: Options, context: Context): Promise<ExitCode> {
  const path = String(options['file'])
  const tail = wholeNumberOf(options, 'tail', 1, 1_000_000)
  const all: Collection = { files: [], lines: [], code: EXIT.fine }
  const server = await context.objects()
  await collect(all, 'versions.yaml', async () => {
    const api = await server.read('/version')
    return emitYaml(withoutSecrets({ margayctl: packageVersion(), node: process.versions.node, api }))
  })
  for (const kind of Object.keys(kinds) as Kind[])
    if (isCustom(kind) || kind === 'Node')
      await collect(all, `objects/${kinds[kind].plural}.yaml`, async () => objectsText(await server.list(kind)))
  const pods = await installation(all, server, String(options['namespace']))
  await logs(all, server, { namespace: String(options['namespace']), pods, tail })
  await agent(all, options)
  const text = `${all.lines.join('\n')}\n`
  const archive = tarArchive(
    [...all.files, fileOf('summary.txt', text)].map(each => ({ ...each, path: `margay-diags/${each.path}` })),
  )
  await write(path, await promisify(gzip)(archive))
  context.out(
    `${text}${path}: ${all.files.length + 1} files. Secrets were removed by rules: look through it before you send it.\n`,
  )
  return all.code
}

function fileOf(path: string, text: string): Collection['files'][number] {
  return { path, content: Buffer.from(text), mode: 0o600 }
}

/** One file of the archive, without secrets already, or why it is not there. Patterns of text are not for YAML and JSON: they may cut its structure. */
async function collect(all: Collection, path: string, text: () => Promise<string>): Promise<void> {
  try {
    all.files.push(fileOf(path, await text()))
    all.lines.push(visible(`${path}: ok`))
  } catch (error) {
    const { code, message } = failureOf(error)
    all.lines.push(visible(`${path}: ${textWithoutSecrets(message)}`))
    if (code === EXIT.unreachable) all.code = code
  }
}

function objectsText(objects: readonly unknown[]): string {
  return emitYaml({ apiVersion: 'v1', kind: 'List', items: objects.map(object => withoutSecrets(object)) })
}

/** The installation's own objects; its pods are returned, for their logs. */
async function installation(all: Collection, server: Objects, namespace: string): Promise<AnyObject[]> {
  let pods: AnyObject[] = []
  const ours = new Set<string>()
  for (const [name, path] of INSTALLATION)
    await collect(all, `installation/${name}.yaml`, async () => {
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
  all: Collection,
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
        await collect(all, file, async () => textWithoutSecrets(await server.text(path)))
      }
  }
}

/** What the agent of this machine answers, where there is one. */
async function agent(all: Collection, options: Options): Promise<void> {
  for (const [name, path] of [
    ['status', '/status'],
    ['events', '/events?count=1000'],
  ] as const)
    await collect(all, `agent/${name}.json`, async () => {
      const answer = await ask(options, z.unknown(), { method: 'GET', path, owner: 'margay-node' })
      return renderValue(withoutSecrets(answer), 'json')
    })
}

/** Never over a file that is there, and readable by its owner alone. Rejects with UsageError. */
async function write(path: string, octets: Uint8Array): Promise<void> {
  try {
    const file = await open(path, 'wx', 0o600)
    await file.writeFile(octets)
    await file.close()
  } catch (error) {
    throw new UsageError(`${path} cannot be written: ${(error as Error).message}. Name another one with --file.`)
  }
}
