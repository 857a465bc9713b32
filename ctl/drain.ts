// `node drain-bgp`: takes traffic away from a node before its maintenance (RFC 8326), and `bgp drain`, which says at the node how
// far that is. What is wanted stands in an annotation of the Node, so that it outlives a restart of the agent.
import { type DrainAnswer, drainAnswer } from '../api/answers.ts'
import { NODE_ANNOTATION } from '../api/core.ts'
import { type Clock, systemClock } from '../lib/clock.ts'
import { type AgentPod, Agents } from './agents.ts'
import type { Context, Options } from './command.ts'
import { Denied, EXIT, type ExitCode } from './failure.ts'
import { wholeNumberOf } from './numbers.ts'
import { type Format, renderTable, show } from './render.ts'
import { ask, parsedJson } from './socket.ts'
import { visible } from './visible.ts'

/** Characters of an answer that are read. */
const MOST_CHARACTERS = 4_000_000
/** Between two questions to an agent that has not read the annotation yet. */
const AGAIN_MS = 1_000

/** Exit code 1 where a peer may not know. Rejects where the Node cannot be written, and with Denied where its agent does not answer. */
export async function drainNode(
  [node = '']: readonly string[],
  options: Options,
  context: Context,
  clock: Clock = systemClock,
): Promise<ExitCode> {
  const wanted = options['undo'] !== true
  const agents = new Agents([node], options, context, clock)
  const server = await context.objects()
  const annotations = { [NODE_ANNOTATION.drainBgp]: wanted ? 'true' : null }
  await server.patch('Node', node, { metadata: { annotations } }, 'merge')
  const answer = await whenKnown(wanted, { agents, node, seconds: wholeNumberOf(options, 'timeout', 1, 600), clock })
  context.out(show(answer, options['output'] as Format, () => renderDrain(node, answer)))
  return answer.peers.some(({ told }) => told === 'no') ? EXIT.no : EXIT.fine
}

type Asked = { agents: Agents; node: string; seconds: number; clock: Clock }

/** What the agent says once it does as the annotation asks. */
async function whenKnown(wanted: boolean, { agents, node, seconds, clock }: Asked): Promise<DrainAnswer> {
  const untilMs = clock.monotonicMs() + seconds * 1000
  const remedy = `the annotation ${NODE_ANNOTATION.drainBgp} of the Node is ${wanted ? 'set' : 'gone'}, and counts once its agent reads it; look with: margayctl bgp drain, on the node`
  let why = 'it does not know of it yet'
  do {
    try {
      const [pod] = await agents.pods()
      const answer = await answerOf(agents, pod!)
      if (answer.drains === wanted) return answer
    } catch (error) {
      why = (error as Error).message
    }
    await new Promise<void>(resolve => clock.after(AGAIN_MS, resolve))
  } while (clock.monotonicMs() < untilMs)
  throw new Denied(`the agent of node ${visible(node)} did not answer in ${seconds} s: ${why}; ${remedy}`)
}

async function answerOf(agents: Agents, pod: AgentPod): Promise<DrainAnswer> {
  let text = ''
  await agents.all(pod, ['bgp', 'drain', '--output', 'json'], line => {
    if (text.length < MOST_CHARACTERS) text += line
  })
  const { data } = drainAnswer.safeParse(parsedJson(text))
  if (data === undefined) throw new Error('its answer cannot be read')
  return data
}

/** What the agent of this node says. */
export async function drainHere(_words: readonly string[], options: Options, context: Context): Promise<ExitCode> {
  const answer = await ask(options, drainAnswer, { method: 'GET', path: '/bgp/drain', owner: 'margay-node' })
  context.out(show(answer, options['output'] as Format, () => renderDrain('this node', answer)))
  return EXIT.fine
}

const TOLD = {
  yes: 'knows',
  sent: 'was told, and cannot say that it knows',
  no: 'no session, or no answer yet',
} as const

/** Who knows, and what stays on this node whatever peers know. Pure. */
function renderDrain(node: string, { drains, peers, alone }: DrainAnswer): string {
  const head = `${node === 'this node' ? node : `node ${visible(node)}`} ${drains ? 'drains: its BGP peers are asked to take other paths' : 'does not drain: paths by it count as usual'}\n`
  const table = renderTable(
    ['PEER', 'ADDRESS', 'WHAT IT KNOWS'],
    peers.map(({ name, address, told }) => [name, address, TOLD[told]]),
  )
  const rest =
    drains && alone.length > 0
      ? [
          `This node hears of nobody else who announces it, so that it may stay here (kubectl drain moves pods):\n  ${alone.join('\n  ')}\n`,
        ]
      : []
  return [head, ...(peers.length === 0 ? ['No BGP peers.\n'] : [table]), ...rest].join('\n')
}
