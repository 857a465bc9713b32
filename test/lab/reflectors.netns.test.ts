// Automatic route reflectors with the real programs: five agents on two LANs and margay-controllers thin the mesh out, replace a reflector
// whose agent is killed, begin again where what the controllers wrote is gone, and have the mesh back, while pods ping each other.
import test from 'ava'
import { BGP_ANNOTATION } from '../../api/core.ts'
import { REFLECTORS_ANNOTATION } from '../../api/reflectors.ts'
import { askAgent, type PeerRow } from '../../lab/ask.ts'
import type { ClusterObject } from '../../lab/cluster.ts'
import { Lab } from '../../lab/lab.ts'
import { runProgram, until } from '../../lab/program.ts'
import { programUnderTest } from '../program-file.ts'
import { ANSWER_MS } from '../slowness.ts'
import { Listener, lastAnswered, sequenceOf, unanswered } from './listener.ts'
import { sweepTestLabs, testLabOptions } from './temporary.ts'

/** Each node has a pod. */
const NODES: [number, number] = [3, 2]
const WHOLE = [4, 4, 4, 4, 4]
/** Where the agent of a reflector does not run, and another one reflects beside the third. */
const WITHOUT_ONE = [2, 2, 3, 3]
/** Of two reflectors each has a session with each node, and other nodes have one with each of the two. */
const THIN = [2, 2, 2, 4, 4]

test('while the mesh is thinned out, a reflector is killed and replaced, its annotation is lost and the mesh comes back, no packet is lost', async t => {
  if (process.geteuid?.() !== 0) {
    t.log('skip: needs root, for network namespaces')
    return t.pass()
  }
  t.timeout(170_000)
  await sweepTestLabs()
  await using lab = new Lab({ ...testLabOptions({ patience: 3 }), nodes: NODES, podsPerNode: 1 })
  await lab.start()
  lab.startControllers()
  await lab.putObjects(lab.plan.nodes.map(({ name }) => ready(name, true)))
  await lab.routesKnown()
  await using stack = new AsyncDisposableStack()
  const pings = lab.pods.map(({ pod }, i) => {
    const { address } = lab.pods[(i + 1) % lab.pods.length]!
    return stack.use(new Listener(pod.netns, ['ping', '-n', '-i', '0.02', address]))
  })
  const answered = async () => {
    const since = pings.map(lastAnswered)
    const more = (line: string, i: number) => sequenceOf(line) >= since[i]! + 5
    await Promise.all(pings.map((each, i) => each.saw(line => more(line, i), 'five more answers', ANSWER_MS)))
    // one that waits for a processor that stands still comes after later ones
    await until(() => pings.every(each => unanswered(each).length === 0), ANSWER_MS)
    return pings.map(unanswered)
  }
  const nothing = pings.map(() => [])
  const monitors = lab.plan.nodes.map(({ netns }) =>
    stack.use(new Listener(netns, ['ip', '-o', '-4', 'monitor', 'route'])),
  )
  /** Sessions of each node that are up. */
  const sessions = async () => {
    const all = lab.plan.nodes.map(async ({ name }) => {
      const status = (await askAgent(lab.agentSocket(name), '/status', ANSWER_MS)) as { peers: PeerRow[] } | undefined
      return status && ([name, status.peers.filter(({ state }) => state === 'Established').length] as const)
    })
    return new Map((await Promise.all(all)).filter(each => each !== undefined))
  }
  const comesTo = async (wanted: readonly number[], what: string) => {
    let found: Map<string, number> = new Map()
    const isSo = async () => {
      found = await sessions()
      return [...found.values()].sort().join() === wanted.join()
    }
    t.true(await until(isSo, 3 * ANSWER_MS, 100), `${what}: sessions are ${JSON.stringify([...found])}`)
    t.deepEqual(await answered(), nothing, what)
    const deleted = monitors.flatMap(({ lines }) => lines.filter(line => line.startsWith('Deleted')))
    t.deepEqual(deleted, [], what)
    return [...found].filter(([, count]) => count === 4).map(([name]) => name)
  }

  await comesTo(WHOLE, 'the mesh')
  await lab.removeObjects([asking('')])
  await lab.putObjects([asking('above=4')])
  const [killed, other] = await comesTo(THIN, 'two reflectors')

  await lab.killAgent(killed!)
  await lab.putObjects([ready(killed!, false)])
  await comesTo(WITHOUT_ONE, 'a third reflector in the place of the killed one')
  lab.startAgent(killed!)
  await Promise.all([lab.agentReady(killed!), lab.putObjects([ready(killed!, true)])])
  const after = await comesTo(THIN, 'two reflectors, and the killed one is none any more')
  t.true(after.includes(other!) && !after.includes(killed!), `${killed} and ${other}, then ${after}`)

  // nobody leads meanwhile
  process.kill(lab.controllersPid, 'SIGSTOP')
  await lab.removeObjects([INFORMATION])
  await lab.putObjects([INFORMATION])
  await comesTo(WHOLE, 'the mesh, where nobody says any more who reflects')
  process.kill(lab.controllersPid, 'SIGCONT')
  t.deepEqual(await comesTo(THIN, 'the same reflectors again'), after)

  await lab.removeObjects([asking('')])
  const ctl = [process.execPath, programUnderTest('ctl/main'), 'get', 'clusterinformation', 'default', '-o', 'json']
  const hasEnded = async () => {
    const { code, stdout } = await runProgram(ctl, { netns: lab.plan.api.netns, env: { KUBECONFIG: lab.kubeconfig } })
    return code === 0 && !stdout.includes(REFLECTORS_ANNOTATION)
  }
  t.true(await until(hasEnded, 3 * ANSWER_MS, 700), 'the last reflector went')
  await comesTo(WHOLE, 'the mesh, where nobody asks any more')
})

const INFORMATION: ClusterObject = {
  kind: 'ClusterInformation',
  object: { metadata: { name: 'default' }, spec: { datastoreReady: true } },
}

function asking(annotation: string): ClusterObject {
  const annotations = { [BGP_ANNOTATION.autoReflectors]: annotation }
  return { kind: 'BGPConfiguration', object: { metadata: { name: 'default', annotations }, spec: {} } }
}

/** As the kubelet says, or the node controller where that is silent. */
function ready(name: string, isReady: boolean): ClusterObject {
  const status = isReady ? 'True' : 'Unknown'
  const conditions = [{ type: 'Ready', status, lastTransitionTime: new Date().toISOString() }]
  return { kind: 'Node', object: { metadata: { name }, spec: {}, status: { conditions } } }
}
