// A whole agent whose API server is sick, in each way and for each kind of request: pods come and go, the server is asked at a
// bounded rate, the node says what is wrong and what to do, and when the server is well everything is told, once.
import test, { type ExecutionContext } from 'ava'
import type { NodeAgent } from '../../agent/node-agent.ts'
import { networkCondition } from '../../agent/node-publisher.ts'
import { handleCni } from '../../cni/handle.ts'
import type { Store } from '../../datastore/port.ts'
// from '../../agent/node-agent.ts'
import { addressAt } from '../../lib/ip.ts'
import { MemoryNetwork } from '../bgp/memory-transport.ts'
import { aNode, aPod, aPool } from '../datastore/objects.ts'
import { aMachine, startAgent } from './machines.ts'
import { type Fault, SickServer } from './sick-server.ts'

const MINUTE_MS = 60_000
/** Of one request to one path in a minute: a watch comes every 5 to 10 s, and some paths belong to several. */
const MOST_A_MINUTE = 60
/** Of all requests of this node in a minute; there are 29 watches. */
const MOST_OF_ALL_A_MINUTE = 400

const ALL = /./
const BLOCKS = /\/ipamblocks\b/
const POLICIES = /\/(pods|tiers|[a-z]*networkpolicies)\b/

/** What the server does, the reason that the node tells, and a word of the remedy. */
const FAULTS: readonly [title: string, fault: Fault, reason: string, remedy: RegExp][] = [
  ['answers 401', { code: 401 }, 'Unauthorized', /token/],
  ['answers 403', { code: 403 }, 'Forbidden', /RBAC/],
  ['answers 404', { code: 404 }, 'NotServed', /CRDs/],
  ['answers 409', { code: 409 }, 'Disconnected', /its log/],
  ['answers 410', { code: 410 }, 'Disconnected', /its log/],
  ['answers 422', { code: 422 }, 'Disconnected', /its log/],
  ['answers 429', { code: 429, headers: { 'retry-after': '20' } }, 'TooManyRequests', /sheds load/],
  ['answers 500', { code: 500 }, 'ServerFails', /its log|the log/],
  ['gives half of each answer', 'half an answer', 'ConnectionLost', /restarts/],
  ['does not answer', 'nothing', 'NoAnswer', /packets get lost/],
]
const WHERE: readonly [title: string, where: RegExp][] = [
  ['to everything', ALL],
  ['to what is about blocks', BLOCKS],
  ['to what is about pods and policies', POLICIES],
]

function call(server: SickServer, agent: NodeAgent, command: 'ADD' | 'DEL' | 'STATUS', pod: string) {
  const env = {
    ...{ CNI_COMMAND: command, CNI_CONTAINERID: pod, CNI_NETNS: `/run/netns/${pod}`, CNI_IFNAME: 'eth0' },
    ...{ CNI_PATH: '/opt/cni/bin', CNI_ARGS: `K8S_POD_NAMESPACE=default;K8S_POD_NAME=${pod}` },
  }
  const stdin = JSON.stringify({ cniVersion: '1.1.0', name: 'net', type: 'margay' })
  return server.during(handleCni({ env, stdin }, agent.cni()))
}

/** A server with a node n1 and its pods c0 to c4, and the machine. */
async function aSickCluster(t: ExecutionContext, pool: object = {}) {
  const server = await SickServer.start(t)
  const { healthy } = server
  await healthy.create('Node', aNode('n1'))
  await healthy.create('IPPool', aPool('pool', pool))
  for (const name of ['c0', 'c1', 'c2', 'c3', 'c4']) await healthy.create('Pod', aPod(name, { nodeName: 'n1' }))
  const machine = await aMachine(t, 'n1', '192.0.2.11')
  const isWell = (agent: NodeAgent) => () => agent.ready() && wrong(agent).length === 0
  const start = (store = server.store()) =>
    server.during(startAgent(t, machine, store, new MemoryNetwork(), server.clock))
  const startWell = async (store?: Store) => {
    const agent = await start(store)
    const isTold = async () => networkCondition(await healthy.get('Node', 'n1'))?.['status'] === 'False'
    const isDone = async () => isWell(agent)() && (await isTold())
    t.true(await server.until(isDone, 30_000), JSON.stringify(wrong(agent)))
    return agent
  }
  return { server, machine, start, startWell, isWell }
}

const wrong = (agent: NodeAgent) => agent.conditions().filter(({ status }) => status !== 'True')

const told = (agent: NodeAgent, type: string) => agent.conditions().find(each => each.type === type)

/** By the API server: which address each container has, in the order of the addresses. One that is there twice is there twice. */
async function published({ healthy }: SickServer): Promise<string[]> {
  const blocks = await healthy.list('IPAMBlock')
  return blocks.flatMap(({ spec: { cidr, allocations, attributes } }) =>
    allocations.flatMap((index, ordinal) => {
      const container = index === null ? undefined : attributes[index]?.secondary?.['containerID']
      return typeof container === 'string' ? [`${container} ${addressAt(cidr, ordinal)}`] : []
    }),
  )
}

/** What the agent says its pods have. */
function attached(agent: NodeAgent): string[] {
  return agent.endpoints
    .live()
    .flatMap(({ id, addresses }) => addresses.map(address => `${id.split('/')[1]} ${address}`))
}

/** How often the most frequent request came in the last minute, and all together. */
function ratesOf({ seen, clock }: SickServer) {
  const counts = new Map<string, number>()
  for (const { what, atMs } of seen)
    if (atMs > clock.monotonicMs() - MINUTE_MS) counts.set(what, (counts.get(what) ?? 0) + 1)
  const [most = ['', 0]] = [...counts].sort(([, a], [, b]) => b - a)
  return { most, all: [...counts.values()].reduce((sum, each) => sum + each, 0) }
}

function assertBounded(t: ExecutionContext, server: SickServer): void {
  const { most, all } = ratesOf(server)
  t.true(most[1] <= MOST_A_MINUTE, `${most[0]}: ${most[1]} in a minute`)
  t.true(all <= MOST_OF_ALL_A_MINUTE, `${all} requests in a minute`)
}

for (const [does, fault, reason, remedy] of FAULTS)
  for (const [what, where] of WHERE)
    test.serial(
      `a server that ${does} ${what} keeps no pod waiting, is asked seldom, is told with a remedy, and later has all`,
      async t => {
        const { server, startWell, isWell } = await aSickCluster(t)
        const agent = await startWell(server.store({ impatient: fault === 'nothing' }))
        t.is((await call(server, agent, 'ADD', 'c0')).exitCode, 0)

        server.sicken(fault, where)
        for (const [command, pod] of [
          ['ADD', 'c1'],
          ['DEL', 'c0'],
          ['ADD', 'c2'],
        ] as const) {
          const startMs = server.clock.monotonicMs()
          const answer = await call(server, agent, command, pod)
          t.is(answer.exitCode, 0, answer.stdout)
          t.true(
            server.clock.monotonicMs() - startMs < 1000,
            `${command} took ${server.clock.monotonicMs() - startMs} ms`,
          )
        }
        await server.pass(MINUTE_MS, fault === 'nothing' ? 3000 : 1000)
        assertBounded(t, server)
        t.true(agent.ready(), 'running pods and new ones are served')
        t.is((await call(server, agent, 'STATUS', 'c1')).exitCode, 0)
        const said = told(agent, 'ApiServerConnected')
        t.like(said, { status: 'False', reason }, JSON.stringify(wrong(agent)))
        t.regex(said!.remedy, remedy)
        const blocks = told(agent, 'BlocksPublished')
        // a write whose answer is cut has been made
        if (where !== POLICIES && fault !== 'half an answer')
          t.is(blocks?.status, 'False', JSON.stringify(wrong(agent)))

        server.heal()
        t.true(await server.until(isWell(agent), MINUTE_MS), JSON.stringify(wrong(agent)))
        const pods = attached(agent)
        t.is(pods.length, 2)
        const isPublished = async () => `${await published(server)}` === `${pods.sort()}`
        t.true(await server.until(isPublished, 2 * MINUTE_MS), `${await published(server)}, and not ${pods}`)
        t.is((await server.healthy.list('IPAMBlock')).length, agent.allocator.blocks().length)
        t.is((await call(server, agent, 'ADD', 'c3')).exitCode, 0)
      },
    )
