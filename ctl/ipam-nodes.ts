// What nodes say of the addresses that they have given: of this one by its agent's socket, of others by agents.ts.
import { type AddressesAnswer, type AddressLine, addressesAnswer, addressLine } from '../api/answers.ts'
import { type AgentPod, Agents } from './agents.ts'
import type { Context, Options } from './command.ts'
import { inTurns } from './each.ts'
import { EXIT, type ExitCode } from './failure.ts'
import type { NodeAnswer } from './ipam-compare.ts'
import { ask, parsedJson } from './socket.ts'

/** The name of the command that runs at each node. */
export const IPAM_CHECK_THERE = '__ipam-check'

/** More than any node has pods, addresses and faults. */
const MOST_LINES = 200_000

/** The answer of this node's agent. Rejects as `ask`. */
export async function askHere(options: Options): Promise<{ node: string; answer: NodeAnswer }> {
  const { node, ...answer } = await ask(options, addressesAnswer, {
    ...{ method: 'GET', path: '/ipam-check', owner: 'margay-node' },
  })
  return { node, answer: wholeAnswer(answer) }
}

/** Of nodes by their names, or of all for none: what each answered, or why it was not asked. Rejects as `Agents`. */
export async function askNodes(
  names: readonly string[],
  options: Options,
  context: Context,
): Promise<{ answers: Map<string, NodeAnswer>; unasked: { node: string; why: string }[] }> {
  const agents = new Agents(names, options, context)
  const answers = new Map<string, NodeAnswer>()
  const unasked: { node: string; why: string }[] = []
  await inTurns(await agents.pods(), async pod => {
    try {
      answers.set(pod.node, await askNode(agents, pod))
    } catch (error) {
      unasked.push({ node: pod.node, why: (error as Error).message })
    }
  })
  return { answers, unasked }
}

async function askNode(agents: Agents, pod: AgentPod): Promise<NodeAnswer> {
  const lines: AddressLine[] = []
  await agents.all(pod, [IPAM_CHECK_THERE], text => {
    const line = addressLine.safeParse(parsedJson(text)).data
    if (line !== undefined && lines.length <= MOST_LINES) lines.push(line)
  })
  if (lines.length > MOST_LINES) throw new Error(`it says more than ${MOST_LINES} lines`)
  const end = lines.find(line => 'looked' in line)
  if (end === undefined) throw new Error('its answer is not whole')
  return wholeAnswer({
    blocks: lines.flatMap(line => ('block' in line ? [line.block] : [])),
    addresses: lines.flatMap(line => ('address' in line ? [line.address] : [])),
    findings: lines.flatMap(line => ('finding' in line ? [line.finding] : [])),
    unlooked: lines.flatMap(line => ('unlooked' in line ? [line.unlooked] : [])),
    looked: end.looked,
  })
}

/** For this program at another machine: the agent's answer in lines of JSON. */
export async function checkThere(_words: readonly string[], options: Options, context: Context): Promise<ExitCode> {
  const { node, blocks, addresses, findings, looked, unlooked } = await ask(options, addressesAnswer, {
    ...{ method: 'GET', path: '/ipam-check', owner: 'margay-node' },
  })
  const lines: AddressLine[] = [
    ...blocks.map(block => ({ block })),
    ...addresses.map(address => ({ address })),
    ...findings.map(finding => ({ finding })),
    ...unlooked.map(id => ({ unlooked: id })),
    { node, looked },
  ]
  context.out(lines.map(line => `${JSON.stringify(line)}\n`).join(''))
  return EXIT.fine
}

function wholeAnswer({ blocks, ...rest }: Omit<AddressesAnswer, 'node'>): NodeAnswer {
  return { ...rest, blocks: new Map(blocks.map(({ cidr, sequence }) => [cidr, BigInt(sequence)])) }
}
