// `flows` of all nodes, from any machine: the API server runs `margayctl __flows` in the pod of each agent (pods/exec), which writes lines of
// JSON and ends when its standard input does, so when this program ends or is killed.
// Hazards: a node may write anything, so lines are bounded and validated, and which node says it is known from its pod; a node that hangs is
// given up; each that was not asked is named, and the exit code is then 1, since a list with a hole would look whole.
import { StringDecoder } from 'node:string_decoder'
import { type FlowLine, flowLine, MOST_FLOWS } from '../api/answers.ts'
import { isObject } from '../api/merge-patch.ts'
import type { PodRun } from '../datastore/exec.ts'
import { isStoreError } from '../datastore/port.ts'
import { type Clock, keepProcess, systemClock } from '../lib/clock.ts'
import type { Context, Options } from './command.ts'
import { inTurns } from './each.ts'
import { Denied, EXIT, type ExitCode, UsageError } from './failure.ts'
import { FlowPrinter, noteLeft, noteLost } from './flow-print.ts'
import { lineOf, type ShownFlow, showFlows } from './flow-view.ts'
import { wholeNumberOf } from './numbers.ts'
import type { Format } from './render.ts'
import { linesTo } from './socket.ts'
import { visible } from './visible.ts'

/** The name of the command that runs at each node. */
export const FLOWS_THERE = '__flows'

/** Nodes that one program follows. */
const MOST_FOLLOWED = 256
/** While flows are followed pods are listed so often, for new nodes and agents that started again. */
const LIST_AGAIN_MS = 30_000
/** What is kept of what a node says on its standard error. */
const MOST_SAID = 1000
/** As the manifests have them. */
const [DAEMON_SET, CONTAINER, PROGRAM] = ['margay-node', 'agent', ['/usr/bin/node', '/opt/margay/margayctl.js']]
const SELECTOR = encodeURIComponent(`app.kubernetes.io/name=${DAEMON_SET},app.kubernetes.io/part-of=margay`)

type AgentPod = { node: string; namespace: string; pod: string; ready: boolean }

/** Lists or follows the flows of all nodes, or of those in `names`. Exit code 1 unless each of them was asked. Rejects with UsageError for a node without an agent. */
export async function clusterFlows(
  names: readonly string[],
  options: Options,
  context: Context,
  clock: Clock = systemClock,
): Promise<ExitCode> {
  const asking = new Asking(names, options, context, clock)
  return options['follow'] === true ? await followed(asking, context, clock) : await listed(asking, options, context)
}

/** How nodes are asked in one run of the command. */
class Asking {
  readonly format: Format
  readonly #names: readonly string[]
  readonly #namespace: string
  readonly #words: readonly string[]
  readonly #timeoutMs: number
  readonly #context: Context
  readonly #clock: Clock

  constructor(names: readonly string[], options: Options, context: Context, clock: Clock) {
    this.format = options['output'] as Format
    this.#names = names
    this.#namespace = String(options['margayNamespace'])
    this.#timeoutMs = wholeNumberOf(options, 'timeout', 1, 600) * 1000
    this.#context = context
    this.#clock = clock
    const { namespace, verdict, follow } = options
    this.#words = [
      FLOWS_THERE,
      ...(follow === true ? ['--follow'] : [`--count=${wholeNumberOf(options, 'count', 1, MOST_FLOWS)}`]),
      ...(typeof namespace === 'string' ? [`--namespace=${namespace}`] : []),
      ...(typeof verdict === 'string' ? [`--verdict=${verdict}`] : []),
    ]
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

  /** Begins to ask one node; its `ended` tells what the node itself said where it failed. Rejects with an Error that says why it cannot be asked. */
  async begin({ namespace, pod, ready }: AgentPod, take: (line: FlowLine) => void): Promise<PodRun> {
    if (!ready) throw new Error(`its pod ${pod} is not ready`)
    const [out, decoder] = [linesTo(line => valid(line, take)), new StringDecoder('utf8')]
    let said = ''
    const exec = await this.#context.exec()
    const begun = exec(
      { namespace, pod, container: CONTAINER!, command: [...PROGRAM!, ...this.#words] },
      (from, piece) => {
        if (from === 'out') out(decoder.write(piece))
        else if (said.length < MOST_SAID) said = `${said}${piece.toString()}`.slice(0, MOST_SAID)
      },
    )
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
  async all(pod: AgentPod, take: (line: FlowLine) => void): Promise<void> {
    const run = await this.begin(pod, take)
    const late = this.#late()
    const why = await Promise.race([run.ended, late.promise.then(() => this.#lateText())]).finally(late.cancel)
    run.close()
    if (why !== undefined) throw new Error(why)
  }

  #late(): { promise: Promise<undefined>; cancel: () => void } {
    const { promise, resolve } = Promise.withResolvers<undefined>()
    return { promise, cancel: this.#clock.after(this.#timeoutMs, () => resolve(undefined)) }
  }

  #lateText(): string {
    return `no answer in ${this.#timeoutMs / 1000} s`
  }
}

async function listed(asking: Asking, options: Options, context: Context): Promise<ExitCode> {
  const count = wholeNumberOf(options, 'count', 1, MOST_FLOWS)
  let [found, code]: [ShownFlow[], ExitCode] = [[], EXIT.fine]
  await inTurns(await asking.pods(), async pod => {
    const flows: ShownFlow[] = []
    try {
      await asking.all(pod, line => {
        if ('flow' in line && flows.length < count) flows.push({ node: pod.node, ...line.flow })
      })
      found = [...found, ...flows].toSorted((a, b) => compared(a.last, b.last)).slice(-count)
    } catch (error) {
      context.err(`node ${visible(pod.node)} is not asked: ${(error as Error).message}\n`)
      code = EXIT.no
    }
  })
  context.out(showFlows(found, asking.format))
  return code
}

/** Ends when it is interrupted, or at once where not one node can be followed. */
async function followed(asking: Asking, context: Context, clock: Clock): Promise<ExitCode> {
  const [runs, told] = [new Map<string, PodRun>(), new Map<string, string>()]
  let isOver = false
  const over = context.interrupted().then(() => {
    isOver = true
  })
  const fails = (node: string, error: Error): void => {
    if (!isOver && told.get(node) !== error.message)
      context.err(`node ${visible(node)} is not followed: ${error.message}\n`)
    told.set(node, error.message)
  }
  const print = (line: FlowLine, node: string | undefined) => {
    if ('lost' in line) noteLost(context, line.lost, node)
    else context.out(lineOf({ ...(node !== undefined && { node }), ...line.flow }, asking.format))
  }
  const printer = new FlowPrinter(context.unread, print, count => noteLeft(context, count))
  const start = async (pod: AgentPod): Promise<void> => {
    const { node } = pod
    if (isOver) return
    try {
      if (runs.size >= MOST_FOLLOWED)
        throw new Error(`${MOST_FOLLOWED} nodes are followed at the most: name those that matter`)
      const run = await asking.begin(pod, line => {
        if (!isOver) printer.take(line, node)
      })
      if (isOver) return run.close()
      runs.set(node, run)
      told.delete(node)
      void run.ended.then(why => {
        run.close()
        runs.delete(node)
        fails(node, new Error(why ?? 'it ended'))
      })
    } catch (error) {
      fails(node, error as Error)
    }
  }
  const look = async (): Promise<void> => {
    const pods = await asking.pods()
    for (const node of told.keys()) if (!pods.some(pod => pod.node === node)) told.delete(node)
    await inTurns(
      pods.filter(({ node }) => !runs.has(node)),
      start,
    )
  }
  const letGo = keepProcess()
  try {
    await Promise.race([look(), over])
    if (!isOver && runs.size === 0) return EXIT.no
    while (!isOver) {
      const { promise, resolve } = Promise.withResolvers<void>()
      const cancel = clock.after(LIST_AGAIN_MS, resolve)
      await Promise.race([promise, over])
      cancel()
      if (!isOver) await Promise.race([look().catch(error => notListed(error, context)), over])
    }
    return told.size === 0 ? EXIT.fine : EXIT.no
  } finally {
    isOver = true
    letGo()
    printer.end()
    for (const run of runs.values()) run.close()
  }
}

/** What is followed goes on without a new list. Rejects for a fault of this program. */
function notListed(error: unknown, context: Context): void {
  if (!isStoreError(error) && !(error instanceof Denied) && !(error instanceof UsageError)) throw error
  context.err(`new nodes are not known: ${error.message}. It is tried again.\n`)
}

/** A later version may tell more, and what it is not a line of flows is nothing. */
function valid(line: string, take: (line: FlowLine) => void): void {
  let value: unknown
  try {
    value = JSON.parse(line)
  } catch {
    return
  }
  const result = flowLine.safeParse(value)
  if (result.success) take(result.data)
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
