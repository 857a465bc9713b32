// Policies of an older form, which the API server holds and nobody enforces, are told, and asking for them costs next to nothing.
import { createServer } from 'node:http'
import test from 'ava'
import { Unenforced } from '../../agent/unenforced.ts'
import type { Condition } from '../../api/status.ts'
import { openStore } from '../../datastore/kube.ts'
import { type AnyKind, NotFound, type ObjectCount, Refused, Unreachable } from '../../datastore/port.ts'
import { ManualClock } from '../../lib/clock.ts'
import { aCluster, startAgent } from './machines.ts'

type Answer = ObjectCount | undefined | Error

/** One node of `nodes`; `answers` is what the server says of `plural.group`: not served, unless it is there. */
function aNodeThatAsks(answers: Map<string, Answer>, nodes = 10) {
  const clock = new ManualClock()
  const asked: string[] = []
  let conditions: readonly Condition[] = []
  const count = async ({ group, plural }: AnyKind): Promise<ObjectCount | undefined> => {
    const name = `${plural}.${group}`
    asked.push(name)
    const answer = answers.has(name) ? answers.get(name) : new NotFound(name)
    if (answer instanceof Error) throw answer
    return answer
  }
  const report = (told: readonly Condition[]) => {
    conditions = told
  }
  const unenforced = new Unenforced({ store: { count }, clock, nodes: () => nodes, report, random: () => 0.5 })
  unenforced.start()
  const pass = async (seconds: number) => {
    for (let i = 0; i < seconds; i++) {
      clock.advance(1000)
      for (let turn = 0; turn < 20; turn++) await Promise.resolve()
    }
  }
  return { clock, asked, pass, told: () => conditions, close: () => unenforced.close() }
}

const some = (count: number, name: string, namespace?: string): ObjectCount => ({
  ...{ count, atLeast: false, name },
  ...(namespace !== undefined && { namespace }),
})

const OLD = 'adminnetworkpolicies.policy.networking.k8s.io'

test('policies of an older form are told by kind, number and example, until they are gone', async t => {
  const answers = new Map<string, Answer>([
    [OLD, some(3, 'deny-all')],
    ['baselineadminnetworkpolicies.policy.networking.k8s.io', { ...some(1, 'default'), atLeast: true }],
  ])
  const { pass, told } = aNodeThatAsks(answers)
  await pass(30)
  t.is(told().length, 1)
  t.like(told()[0], { type: 'PoliciesEnforced', status: 'False', reason: 'NotEnforced' })
  t.regex(
    told()[0]?.message ?? '',
    /^nobody enforces 3 AdminNetworkPolicy of \S+ \(such as deny-all\), 1 or more BaselineAdminNetworkPolicy of \S+ \(such as default\)/,
  )
  t.regex(told()[0]?.remedy ?? '', /ClusterNetworkPolicy/)
  answers.clear()
  for (const name of [OLD, 'baselineadminnetworkpolicies.policy.networking.k8s.io']) answers.set(name, undefined)
  await pass(70)
  t.deepEqual(told(), [])
})

test('a kind that is not served, or may not be read, is no fault and is asked for again once an hour', async t => {
  const answers = new Map<string, Answer>([[OLD, new Refused(403, 'forbidden')]])
  const { asked, pass, told } = aNodeThatAsks(answers)
  await pass(30)
  const all = asked.length
  t.is(new Set(asked).size, all)
  t.deepEqual(told(), [])
  await pass(3500)
  t.is(asked.length, all)
  answers.set(OLD, some(1, 'late', 'shop'))
  await pass(200)
  t.is(new Set(asked.slice(all, 2 * all)).size, all)
  t.regex(told()[0]?.message ?? '', /such as shop\/late/)
})

test('the more nodes, the more rarely each asks: all together twice a second for one kind, at 5,000 nodes too', async t => {
  for (const nodes of [500, 5000]) {
    const answers = new Map<string, Answer>([[OLD, undefined]])
    const { asked, pass, close, clock } = aNodeThatAsks(answers, nodes)
    await pass(20)
    asked.length = 0
    const seconds = nodes * 5
    await pass(seconds)
    const rate = (asked.filter(name => name === OLD).length * nodes) / seconds
    t.true(rate > 1.5 && rate <= 2.1, `${rate} questions a second`)
    close()
    t.is(clock.pending, 0)
  }
})

test('while the server does not answer, what it said before counts', async t => {
  const answers = new Map<string, Answer>([[OLD, some(2, 'a', 'b')]])
  const { pass, told } = aNodeThatAsks(answers)
  await pass(30)
  answers.set(OLD, new Unreachable('away'))
  await pass(200)
  t.is(told().length, 1)
})

test('when the server refuses the token of the node, what it said before still counts', async t => {
  const answers = new Map<string, Answer>([[OLD, some(2, 'a', 'b')]])
  const { pass, told } = aNodeThatAsks(answers)
  await pass(30)
  answers.set(OLD, new Refused(401, 'Unauthorized'))
  await pass(100)
  t.is(told().length, 1)
  answers.set(OLD, some(3, 'later', 'b'))
  await pass(100)
  t.regex(told()[0]?.message ?? '', /3 AdminNetworkPolicy .*later/, 'asked again after the usual time')
})

test('a real API server is asked for the metadata of one object', async t => {
  const asked: string[] = []
  const server = createServer((request, response) => {
    asked.push(`${request.url} ${request.headers.accept}`)
    response.writeHead(200, { 'content-type': 'application/json' })
    const items = [{ metadata: { name: 'deny-all', namespace: 'shop' } }]
    const metadata = { resourceVersion: '7', continue: 'abc', remainingItemCount: 41 }
    response.end(JSON.stringify({ kind: 'PartialObjectMetadataList', metadata, items }))
  }).listen(0, '127.0.0.1')
  await new Promise(resolve => server.once('listening', resolve))
  const store = openStore({ server: `http://127.0.0.1:${(server.address() as { port: number }).port}` })
  const kind = { group: 'networking.k8s.io', version: 'v1', plural: 'networkpolicies' }
  t.deepEqual(await store.count(kind), some(42, 'deny-all', 'shop'))
  t.deepEqual(asked, [
    '/apis/networking.k8s.io/v1/networkpolicies?limit=1 application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json',
  ])
  await store.close()
  server.close()
})

test('a node shows it among its conditions, and is ready all the same', async t => {
  const { store, network, machines } = await aCluster(t)
  const clock = new ManualClock()
  const count = async (kind: AnyKind) => {
    if (kind.plural === 'adminnetworkpolicies') return some(1, 'deny-all')
    throw new NotFound(kind.plural)
  }
  const agent = await startAgent(t, machines[0], { ...store, count }, network, clock)
  for (let i = 0; i < 60; i++) {
    clock.advance(500)
    for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate)
  }
  t.is(agent.conditions().find(({ type }) => type === 'PoliciesEnforced')?.status, 'False')
  t.true(agent.ready())
})
