// A node whose API server is sick, for tests of the whole agent: the ways to be sick with what a node tells of each, and what must
// hold however sick the server is.
import type { ExecutionContext } from 'ava'
import type { NodeAgent } from '../../agent/node-agent.ts'
import { networkCondition } from '../../agent/node-publisher.ts'
import { MemoryNetwork } from '../../bgp/simulation/memory-transport.ts'
import { handleCni } from '../../cni/handle.ts'
import type { Store } from '../../datastore/port.ts'
import { addressAt } from '../../lib/ip.ts'
import { aNode, aPod, aPool } from '../datastore/objects.ts'
import { aMachine, startAgent } from './machines.ts'
import { type Fault, SickServer } from './sick-server.ts'

export const MINUTE_MS = 60_000
/** Of one request to one path in a minute: a watch comes every 5 to 10 s, and some paths belong to several. */
const MOST_A_MINUTE = 100
/** Of all requests of this node in a minute: there are 29 watches, and where a watch of a version that was just listed is refused with 410 each attempt is a list and a watch. */
const MOST_OF_ALL_A_MINUTE = 700

/** What the server does, the reason that the node tells, and a word of the remedy. */
export const FAULTS: readonly [title: string, fault: Fault, reason: string, remedy: RegExp][] = [
  ['answers 401', { code: 401 }, 'Unauthorized', /token/],
  ['answers 403', { code: 403 }, 'Forbidden', /RBAC/],
  ['answers 404', { code: 404 }, 'NotServed', /CRDs/],
  ['answers 409', { code: 409 }, 'Disconnected', /its log/],
  ['answers 410', { code: 410 }, 'Disconnected', /its log/],
  ['answers 422', { code: 422 }, 'Disconnected', /its log/],
  ['answers 429', { code: 429, headers: { 'retry-after': '20' } }, 'TooManyRequests', /sheds load/],
  ['answers 500', { code: 500 }, 'ServerFails', /the log of/],
  ['gives half of each answer', 'half an answer', 'ConnectionLost', /restarts/],
  ['does not answer', 'nothing', 'NoAnswer', /packets get lost/],
  ['is away', 'away', 'ConnectionLost', /restarts/],
  ['shows a certificate that has expired', 'an expired certificate', 'CertificateExpired', /renew/],
]
export function call(server: SickServer, agent: NodeAgent, command: 'ADD' | 'DEL' | 'STATUS', pod: string) {
  const env = {
    ...{ CNI_COMMAND: command, CNI_CONTAINERID: pod, CNI_NETNS: `/run/netns/${pod}`, CNI_IFNAME: 'eth0' },
    ...{ CNI_PATH: '/opt/cni/bin', CNI_ARGS: `K8S_POD_NAMESPACE=default;K8S_POD_NAME=${pod}` },
  }
  const stdin = JSON.stringify({ cniVersion: '1.1.0', name: 'net', type: 'margay' })
  return server.during(handleCni({ env, stdin }, agent.cni()))
}

/** A server that will have the fault, with a node n1 and its pods c0 to c4, and the machine. */
export async function aSickCluster(t: ExecutionContext, fault: Fault, pool: object = {}) {
  const server = await SickServer.start(t, { tls: fault === 'an expired certificate' })
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

/** While nothing is answered each step takes as long as the agent waits. */
export const stepOf = (fault: Fault) => (fault === 'nothing' ? 4000 : 2000)

export const wrong = (agent: NodeAgent) => agent.conditions().filter(({ status }) => status !== 'True')

export const told = (agent: NodeAgent, type: string) => agent.conditions().find(each => each.type === type)

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
export function attached(agent: NodeAgent): string[] {
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

/** Each pod is at the server once, with its address, and nothing else is. */
export async function assertPublished(t: ExecutionContext, server: SickServer, agent: NodeAgent): Promise<void> {
  const pods = `${attached(agent).sort()}`
  const isPublished = async () => `${(await published(server)).sort()}` === pods
  t.true(await server.until(isPublished, 2 * MINUTE_MS), `${await published(server)}, and not ${pods}`)
  t.is((await server.healthy.list('IPAMBlock')).length, agent.allocator.blocks().length)
}

export function assertBounded(t: ExecutionContext, server: SickServer): void {
  const { most, all } = ratesOf(server)
  t.true(most[1] <= MOST_A_MINUTE, `${most[0]}: ${most[1]} in a minute`)
  t.true(all <= MOST_OF_ALL_A_MINUTE, `${all} requests in a minute`)
}
