// `explain A B [PROTO/PORT]`: why A cannot reach B, by what both ends' nodes say; `explain NODE`: why pods get no network there.

import { statusAnswer } from '../api/answers.ts'
import { nodeFacts, type Question, question } from '../api/explain.ts'
import type { Explanation, NodeExplanation } from '../api/explanation.ts'
import { type TraceFacts, traceAnswer, traceOrder } from '../api/trace.ts'
import { explainNode } from '../explain/node.ts'
import { type Followed, walk } from '../explain/walk.ts'
import { agentOptions } from './agents.ts'
import { type Command, type Context, type Options, outputOption } from './command.ts'
import type { Ends } from './ends/ends.ts'
import { execEnds, FACTS_THERE, TRACE_THERE } from './ends/exec.ts'
import { objectDirectory } from './ends/objects.ts'
import { parseSockets, socketEnds } from './ends/sockets.ts'
import { explainPolicy } from './explain-policy.ts'
import { explanationText, nodeExplanationText } from './explain-view.ts'
import { parseProtocol, questionsOf, resolve, resolveTarget } from './explain-words.ts'
import { EXIT, type ExitCode, UsageError } from './failure.ts'
import { probed, probedService } from './probe.ts'
import { RECORDED_THERE, recordedBehind } from './recorded-flows.ts'
import { type Format, show } from './render.ts'
import { ask, parsedJson, socketOption } from './socket.ts'

export const explainCommands: readonly Command[] = [
  {
    name: 'explain',
    summary:
      'Say why one end cannot reach another: what stops the packet first, who made it so and what to do, by what the nodes of both say; with one word, why pods get no network on that node',
    arguments: [
      { name: '[from]', summary: 'NAMESPACE/POD, pod/NAME, node/NAME, an address; a bare name is a pod or a node' },
      { name: '[to]', summary: 'the same, svc/NAME[:PORT], NAME.NAMESPACE.svc[:PORT], or a name outside' },
      { name: '[protocol]', summary: 'tcp/PORT, udp/PORT, icmp (default), or a number' },
    ],
    options: [
      {
        flags: '--node-sockets <list>',
        summary: 'NODE=PATH,...: ask the agents by these sockets of this machine, not by the API server',
      },
      {
        flags: '--probe',
        summary:
          'send the packet, from the pod or node where it begins, and follow it on both nodes: names what drops or translates it in tables of any program (icmp: an echo; tcp: a SYN that no program hears of; udp: eight octets)',
      },
      {
        flags: '--policy <file>',
        summary:
          'what a manifest of policies would do, before it is applied, to the packet, or without words to flows that nodes have recorded: open connections of pods, and packets that policies denied; exit code 1 where something that passes would be denied',
        repeated: true,
      },
      { flags: '--delete', summary: 'with --policy: what deleting the objects that the manifest names would do' },
      { flags: '-n, --namespace <name>', summary: 'of bare names; default: that of the kubeconfig, else default' },
      ...agentOptions,
      outputOption,
    ],
    run: explain,
  },
  {
    name: RECORDED_THERE,
    summary: 'Print the flows that this node knows of, as a line of JSON',
    arguments: [],
    hidden: true,
    options: [socketOption],
    run: recordedThere,
  },
  {
    name: FACTS_THERE,
    summary: 'Print what this node says of a question, or its conditions, as a line of JSON',
    arguments: [{ name: '[question]', summary: 'in JSON' }],
    hidden: true,
    options: [socketOption],
    run: factsThere,
  },
  {
    name: TRACE_THERE,
    summary: 'Carry out an order about a probe on this node, and print the answer as a line of JSON',
    arguments: [{ name: '<order>', summary: 'in JSON' }],
    hidden: true,
    options: [socketOption],
    run: traceThere,
  },
]

async function explain(words: readonly string[], options: Options, context: Context): Promise<ExitCode> {
  const [from, to, protocol] = words
  const { policy: files } = options
  if (Array.isArray(files)) return explainFiles(files, words, options, context)
  if (from === undefined) throw new UsageError('name two ends, or one node, or give --policy FILE')
  const ends = await endsOf(options, context)
  if (to === undefined) return tellNode(explainNode(await ends.askNode(nodeName(from))), options, context)
  const namespace = await namespaceOf(options, context)
  const all = await explanationsOf({ from, to, protocol, isProbed: options['probe'] === true }, namespace, ends)
  const [worst, ...alternatives] = all
  const format = options['output'] as Format
  context.out(show({ ...worst, alternatives }, format, text => all.map(each => explanationText(each, text)).join('\n')))
  return worst.verdict === 'passes' ? EXIT.fine : EXIT.no
}

/** With two words the packet between them, without any those that were seen. */
async function explainFiles(
  files: readonly string[],
  words: readonly string[],
  options: Options,
  context: Context,
): Promise<ExitCode> {
  const [from, to, protocol] = words
  const namespace = await namespaceOf(options, context)
  if (from !== undefined && to === undefined) throw new UsageError('--policy: name two ends, or none')
  const { directory } = await endsOf(options, context)
  const asked = parseProtocol(protocol)
  const questions =
    from === undefined
      ? undefined
      : questionsOf(
          await resolve(from, namespace, directory),
          await resolveTarget(to!, asked, namespace, directory),
          asked,
        )
  return explainPolicy(files, questions, namespace, options, context)
}

/** One walk for each way that packets may take, the worst first. `isProbed`: each packet is sent, too. Rejects with UsageError, or as the ends' directory. */
export async function explanationsOf(
  { from, to, protocol, isProbed = false }: { from: string; to: string; protocol?: string; isProbed?: boolean },
  namespace: string,
  ends: Ends,
): Promise<[Explanation, ...Explanation[]]> {
  const asked = parseProtocol(protocol)
  const { directory } = ends
  const [a, b] = [await resolve(from, namespace, directory), await resolveTarget(to, asked, namespace, directory)]
  const questions = questionsOf(a, b, asked)
  const all = isProbed ? await inTurn(questions, ends) : await Promise.all(questions.map(each => explained(each, ends)))
  return all.toSorted((x, y) => rankOf(x) - rankOf(y)) as [Explanation, ...Explanation[]]
}

/** A node follows one probe at a time. */
async function inTurn(questions: readonly Question[], ends: Ends): Promise<Explanation[]> {
  const all: Explanation[] = []
  // the same for each pod of a Service
  const toServices = new Map<string, TraceFacts | undefined>()
  for (const question of questions) {
    const { packet, service } = question
    const key = `${packet.source} ${service?.address}`
    if (!toServices.has(key)) toServices.set(key, await probedService(question, ends))
    const { traces, probe, failed } = await probed(question, ends)
    const found = await explained(question, ends, { traces, toService: toServices.get(key) })
    const notes =
      failed === undefined ? [] : [{ node: question.from.node ?? '', text: `the probe is not known whole: ${failed}` }]
    all.push({ ...found, notes: [...notes, ...found.notes], ...(probe !== undefined && { probe }) })
  }
  return all
}

async function explained(question: Question, ends: Ends, followed: Followed = {}): Promise<Explanation> {
  const { from, to } = question
  // a name of which nothing is known but that no pod has it
  if (to.address === '') return walk(question, undefined, undefined, followed)
  const [near, far] = await Promise.all([
    from.node === undefined ? undefined : ends.ask(from.node, question),
    to.node === undefined || to.node === from.node ? undefined : ends.ask(to.node, question),
  ])
  return walk(question, near, to.node === from.node ? near : far, followed)
}

function tellNode(found: NodeExplanation, options: Options, context: Context): ExitCode {
  context.out(show(found, options['output'] as Format, () => nodeExplanationText(found)))
  return found.verdict === 'passes' ? EXIT.fine : EXIT.no
}

/** What stops comes first, then what is not known. */
function rankOf({ verdict }: Explanation): number {
  return ['stopped', 'unknown', 'passes'].indexOf(verdict)
}

function nodeName(word: string): string {
  const name = word.replace(/^node\//, '')
  if (name.includes('/')) throw new UsageError(`${word}: name two ends, or one node`)
  return name
}

/** The objects of an API server are used where one is named, or where nodes are asked by it. */
export async function endsOf(options: Options, context: Context): Promise<Ends> {
  const { nodeSockets, kubeconfig, server, config } = options
  const isNamed = [kubeconfig, server, config].some(each => each !== undefined)
  const directory = async () => objectDirectory(await context.objects())
  if (typeof nodeSockets === 'string')
    return socketEnds(parseSockets(nodeSockets), isNamed ? await directory() : undefined)
  return execEnds(await directory(), options, context)
}

/** Of names that are given without one. */
export async function namespaceOf(options: Options, context: Context): Promise<string> {
  const { namespace, nodeSockets, kubeconfig } = options
  if (typeof namespace === 'string') return namespace
  // a kubeconfig of some other cluster may lie around
  return typeof nodeSockets === 'string' && kubeconfig === undefined ? 'default' : await context.namespace()
}

/** For this program at another machine. */
async function recordedThere(_words: readonly string[], options: Options, context: Context): Promise<ExitCode> {
  context.out(`${JSON.stringify(await recordedBehind(String(options['socket'])))}\n`)
  return EXIT.fine
}

/** For this program at another machine. */
async function factsThere([text]: readonly string[], options: Options, context: Context): Promise<ExitCode> {
  const owner = 'margay-node' as const
  if (text === undefined) {
    const { conditions } = await ask(options, statusAnswer, { method: 'GET', path: '/status', owner })
    context.out(`${JSON.stringify({ conditions: conditions.filter(({ status }) => status !== 'True') })}\n`)
    return EXIT.fine
  }
  const { data } = question.safeParse(parsedJson(text))
  if (data === undefined) throw new UsageError('the question cannot be read')
  const facts = await ask(options, nodeFacts, { method: 'POST', path: '/facts', owner, body: data })
  context.out(`${JSON.stringify(facts)}\n`)
  return EXIT.fine
}

async function traceThere([text = '']: readonly string[], options: Options, context: Context): Promise<ExitCode> {
  const { data } = traceOrder.safeParse(parsedJson(text))
  if (data === undefined) throw new UsageError('the order cannot be read')
  const answer = await ask(options, traceAnswer, { method: 'POST', path: '/trace', owner: 'margay-node', body: data })
  context.out(`${JSON.stringify(answer)}\n`)
  return EXIT.fine
}
