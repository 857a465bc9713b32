// The agents of a cluster, asked from any machine: the API server runs a hidden command of margayctl in the pod of each (pods/exec), which
// writes lines and ends when its standard input does, so when this program ends or is killed.
// Hazards: a node may write anything, so lines are bounded, and which node says it is known from its pod; a node that hangs is given up.
import { StringDecoder } from 'node:string_decoder'
import type * as z from 'zod'
import { isObject } from '../api/merge-patch.ts'
import type { PodRun } from '../datastore/exec.ts'
import { type Clock, systemClock } from '../lib/clock.ts'
import type { CommandOption, Context, Options } from './command.ts'
import { Denied, UsageError } from './failure.ts'
import { wholeNumberOf } from './numbers.ts'
import { linesTo, parsedJson } from './socket.ts'

/** What is kept of what a node says on its standard error. */
const MOST_SAID = 1000
/** As the manifests have them. */
const [DAEMON_SET, CONTAINER, PROGRAM] = ['margay-node', 'agent', ['/usr/bin/node', '/opt/margay/margayctl.js']]
const SELECTOR = encodeURIComponent(`app.kubernetes.io/name=${DAEMON_SET},app.kubernetes.io/part-of=margay`)

/** The options that `Agents` reads. */
export const agentOptions: readonly CommandOption[] = [
  { flags: '--timeout <seconds>', summary: 'how long nodes of the cluster may take to answer', default: '10' },
  {
    flags: '--margay-namespace <name>',
    summary: 'where Margay is installed, for nodes of the cluster',
    default: 'kube-system',
  },
]

export type AgentPod = { node: string; namespace: string; pod: string; ready: boolean }

/** A node answered in the words of another version. */
export class NotUnderstood extends Error {
  override readonly name = 'NotUnderstood'
  constructor() {
    super('it answers what this margayctl does not understand: use the one of its version')
  }
}

/** The agents of all nodes, or of those in `names`. */
export class Agents {
  readonly #names: readonly string[]
  readonly #namespace: string
  readonly #timeoutMs: number
  readonly #context: Context
  readonly #clock: Clock

  constructor(names: readonly string[], options: Options, context: Context, clock: Clock = systemClock) {
    this.#names = names
    this.#namespace = String(options['margayNamespace'])
    this.#timeoutMs = wholeNumberOf(options, 'timeout', 1, 600) * 1000
    this.#context = context
    this.#clock = clock
  }

  /** The agents' pods, one of each node, by nodes' names. Rejects with UsageError, Denied, or as the server's answer is. */
  async pods(): Promise<AgentPod[]> {
    const server = await this.#context.objects()
    const path = `/api/v1/namespaces/${encodeURIComponent(this.#namespace)}/pods?labelSelector=${SELECTOR}`
    const pods = podsOf(await server.read(path), this.#namespace)
    if (pods.length === 0)
      throw new Denied(
        `there is no pod of ${DAEMON_SET} in namespace ${this.#namespace}: name the one of the installation with --margay-namespace`,
      )
    const unknown = this.#names.filter(name => !pods.some(({ node }) => node === name))
    if (unknown.length > 0) throw new UsageError(`no agent runs on ${unknown.join(', ')}: list nodes with get nodes`)
    return this.#names.length === 0 ? pods : pods.filter(({ node }) => this.#names.includes(node))
  }

  /** Begins to run a command at one node, of which `take` gets each line; its `ended` tells what the node itself said where it failed. Rejects with an Error that says why it cannot be asked. */
  async begin(
    { namespace, pod, ready }: AgentPod,
    words: readonly string[],
    take: (line: string) => void,
  ): Promise<PodRun> {
    if (!ready) throw new Error(`its pod ${pod} is not ready`)
    const [out, decoder] = [linesTo(take), new StringDecoder('utf8')]
    let said = ''
    const exec = await this.#context.exec()
    const begun = exec({ namespace, pod, container: CONTAINER!, command: [...PROGRAM!, ...words] }, (from, piece) => {
      if (from === 'out') out(decoder.write(piece))
      else if (said.length < MOST_SAID) said = `${said}${piece.toString()}`.slice(0, MOST_SAID)
    })
    const late = this.#late()
    const first = await Promise.race([begun, late.promise]).finally(late.cancel)
    if (first === undefined) {
      // whatever comes of it later is not wanted any more
      begun.then(run => run.close()).catch(() => undefined)
      throw new Error(this.#lateText())
    }
    const ended = first.ended.then(why => (why === undefined || said.trim() === '' ? why : said.trim()))
    return { ended, close: first.close }
  }

  /** All that one node tells, which ends. Rejects as `begin`, also where it does not end in time. */
  async all(pod: AgentPod, words: readonly string[], take: (line: string) => void): Promise<void> {
    const run = await this.begin(pod, words, take)
    const late = this.#late()
    const why = await Promise.race([run.ended, late.promise.then(() => this.#lateText())]).finally(late.cancel)
    run.close()
    if (why !== undefined) throw new Error(why)
  }

  /** The one line of JSON that a command at one node writes, read by `schema`. Rejects as `all`, and with NotUnderstood. */
  async answer<T>(pod: AgentPod, words: readonly string[], schema: z.ZodType<T>): Promise<T> {
    let said: unknown
    await this.all(pod, words, line => {
      said ??= parsedJson(line)
    })
    const { data, success } = schema.safeParse(said)
    if (!success) throw new NotUnderstood()
    return data
  }

  #late(): { promise: Promise<undefined>; cancel: () => void } {
    const { promise, resolve } = Promise.withResolvers<undefined>()
    return { promise, cancel: this.#clock.after(this.#timeoutMs, () => resolve(undefined)) }
  }

  #lateText(): string {
    return `no answer in ${this.#timeoutMs / 1000} s`
  }
}

function compared(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}

/** Of the DaemonSet's own pods one of each node, a ready one before others. */
function podsOf(list: unknown, namespace: string): AgentPod[] {
  const items = isObject(list) && Array.isArray(list['items']) ? list['items'] : []
  const found = new Map<string, AgentPod>()
  for (const item of items) {
    const pod = podOf(item, namespace)
    if (pod !== undefined && (pod.ready || !found.has(pod.node))) found.set(pod.node, pod)
  }
  return [...found.values()].toSorted((a, b) => compared(a.node, b.node))
}

function podOf(item: unknown, namespace: string): AgentPod | undefined {
  if (!isObject(item) || !isObject(item['metadata']) || !isObject(item['spec'])) return undefined
  const { name, ownerReferences } = item['metadata']
  const { nodeName } = item['spec']
  const isOurs = objectsIn(ownerReferences).some(
    ({ kind, name, controller }) => kind === 'DaemonSet' && name === DAEMON_SET && controller === true,
  )
  if (!isOurs || typeof name !== 'string' || typeof nodeName !== 'string') return undefined
  const conditions = isObject(item['status']) ? objectsIn(item['status']['conditions']) : []
  const ready = conditions.some(({ type, status }) => type === 'Ready' && status === 'True')
  return { node: nodeName, namespace, pod: name, ready }
}

function objectsIn(list: unknown): Record<string, unknown>[] {
  return Array.isArray(list) ? list.filter(isObject) : []
}
