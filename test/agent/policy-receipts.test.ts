// What a node says of policies: when it writes, and what. The kernel's part is a value here; test/felix has the real one.
import test from 'ava'
import { PolicyReceipts } from '../../agent/policy-receipts.ts'
import { MOST_ENFORCED, MOST_FAILING, type ReflectionReceipt } from '../../api/receipt-schemas.ts'
import { startApiServer } from '../../apiserver/server.ts'
import { createFakeStore } from '../../datastore/fake.ts'
import { openStore } from '../../datastore/kube.ts'
import { Refused } from '../../datastore/port.ts'
import type { EnforcerReceipt, PolicyFailure } from '../../felix/enforcer.ts'
import { ManualClock } from '../../lib/clock.ts'
import { silentLog } from '../../lib/log.ts'
import { until } from '../controllers/programs.ts'

const asks = (...revisions: string[]): EnforcerReceipt => ({
  worked: { NetworkPolicy: revisions.join('') },
  pods: undefined,
  asked: revisions.map(revision => ({ policy: `NetworkPolicy ns/${revision}`, revision, failure: undefined })),
})

/** A node n1 among `nodes`, whose random numbers are all a half. */
function started(nodes = 3) {
  const [clock, store] = [new ManualClock(), createFakeStore()]
  const it = {
    kernel: asks('a') as EnforcerReceipt | undefined,
    fault: undefined as PolicyFailure | undefined,
    refuses: false,
    question: undefined as string | undefined,
    late: undefined as string | undefined,
    reflection: undefined as ReflectionReceipt | undefined,
  }
  const writes: string[] = []
  const counted = <T>(what: string, call: () => Promise<T>): Promise<T> => {
    writes.push(what)
    return it.refuses ? Promise.reject(new Refused(403, 'no right')) : call()
  }
  const receipts = new PolicyReceipts({
    ...{ nodeName: 'n1', clock, log: silentLog, nodes: () => nodes, random: () => 0.5 },
    store: {
      patch: (kind, name, patch, options) => counted('patch', () => store.patch(kind, name, patch, options)),
      create: (kind, object) => counted('create', () => store.create(kind, object)),
    },
    receipt: () => it.kernel,
    faultOf: () => it.fault,
    asked: () => it.question,
    late: () => it.late,
    reflection: () => it.reflection,
  })
  const pass = async (ms: number) => {
    clock.advance(ms)
    for (let turn = 0; turn < 5; turn++) await new Promise(setImmediate)
  }
  const said = async () => (await store.get('PolicyReceipt', 'n1')).spec
  return Object.assign(it, { receipts, store, writes, pass, said })
}

test('what the kernel has is written after a moment of its own, and what stays the same is not', async t => {
  const node = started()
  node.receipts.changed()
  await node.pass(240)
  t.deepEqual(node.writes, [])
  await node.pass(10)
  t.deepEqual(node.writes, ['patch', 'create'])
  t.deepEqual(await node.said(), { worked: { NetworkPolicy: 'a' }, enforced: ['a'], failing: [] })
  for (let i = 0; i < 10; i++) {
    node.receipts.changed()
    await node.pass(2000)
  }
  t.is(node.writes.length, 2)
  node.kernel = asks('b', 'a')
  node.receipts.changed()
  await node.pass(2000)
  t.deepEqual((await node.said()).enforced, ['a', 'b'])
  node.receipts.close()
})

test('what a node says of automatic reflectors is written at once, and taken away', async t => {
  const node = started()
  node.receipts.changed()
  await node.pass(2000)
  for (const reflection of [
    { step: 7, via: ['n1', 'n2'], direct: true, held: true },
    { step: 8, via: [], direct: false },
    undefined,
  ]) {
    node.reflection = reflection
    node.receipts.changed()
    await node.pass(2000)
    t.deepEqual((await node.said()).reflection, reflection)
  }
  node.receipts.close()
})

test('pods that come and go lead to one write a minute, which waits for none where a policy changes', async t => {
  const node = started()
  for (let second = 0; second < 600; second++) {
    const asked = second % 2 === 0 ? asks('a', 'b') : asks('a')
    node.kernel = { ...asked, worked: { NetworkPolicy: 'same' } }
    node.receipts.changed()
    await node.pass(1000)
  }
  t.true(node.writes.length >= 5 && node.writes.length <= 12, `${node.writes.length} writes in ten minutes`)
  await node.pass(60_000)
  t.deepEqual((await node.said()).enforced, ['a'])
  node.kernel = { ...asks('a', 'c'), worked: { NetworkPolicy: 'same' } }
  node.receipts.changed()
  await node.pass(2000)
  node.kernel = { ...asks('a', 'c'), worked: { NetworkPolicy: 'other' } }
  node.receipts.changed()
  await node.pass(2000)
  t.deepEqual(await node.said(), { worked: { NetworkPolicy: 'other' }, enforced: ['a', 'c'], failing: [] })
  node.receipts.close()
})

test('how far a node is with Pods is said when all nodes are asked, once it is so far, and else with what is written anyway', async t => {
  const node = started()
  node.kernel = { ...asks('a'), pods: '7' }
  node.receipts.changed()
  await node.pass(2000)
  t.is((await node.said()).pods, '7')
  const before = node.writes.length
  for (let version = 8; version < 100; version++) {
    node.kernel = { ...asks('a'), pods: `${version}` }
    node.receipts.changed()
    await node.pass(2000)
  }
  t.is(node.writes.length, before, 'pods that come and go cost no write')
  node.question = '100'
  node.receipts.changed()
  await node.pass(2000)
  t.is(node.writes.length, before, 'it is not so far yet')
  node.kernel = { ...asks('a'), pods: '101' }
  node.receipts.changed()
  await node.pass(2000)
  t.is((await node.said()).pods, '101')
  node.receipts.changed()
  await node.pass(60_000)
  t.is(node.writes.length, before + 1)
  node.kernel = { ...asks('a'), pods: '202' }
  for (let minute = 0; minute < 20; minute++) {
    node.receipts.changed()
    await node.pass(60_000)
  }
  t.is((await node.said()).pods, '202', 'it is repeated, however often there is no news')
  t.is(node.writes.length, before + 2)
  node.receipts.close()
})

test('a node that knows for the first time how far it is with Pods says so', async t => {
  const node = started()
  node.receipts.changed()
  await node.pass(2000)
  const before = node.writes.length
  node.kernel = { ...asks('a'), pods: '7' }
  node.receipts.changed()
  await node.pass(2000)
  t.is((await node.said()).pods, '7')
  t.is(node.writes.length, before + 1)
  node.receipts.close()
})

test('that an address went on too early is said at once, and once', async t => {
  const node = started()
  node.receipts.changed()
  await node.pass(2000)
  const before = node.writes.length
  node.late = '55'
  node.receipts.changed()
  await node.pass(2000)
  t.is((await node.said()).late, '55')
  node.receipts.changed()
  await node.pass(60_000)
  t.is(node.writes.length, before + 1)
  node.receipts.close()
})

test('an agent that does not know yet how far it is takes back what the one before it said', async t => {
  const node = started()
  const old = { worked: {}, enforced: [], failing: [], pods: '900', late: '800' }
  await node.store.create('PolicyReceipt', { metadata: { name: 'n1' }, spec: old })
  node.receipts.changed()
  await node.pass(2000)
  t.deepEqual(await node.said(), { worked: { NetworkPolicy: 'a' }, enforced: ['a'], failing: [] })
  node.receipts.close()
})

test('a thousand nodes write a hundred times a second at the most, whatever changes', async t => {
  const node = started(1000)
  for (let second = 0; second < 600; second++) {
    node.kernel = asks(`${second}`)
    node.receipts.changed()
    await node.pass(1000)
  }
  t.true(node.writes.length <= 61, `${node.writes.length} writes in ten minutes`)
  t.true(node.writes.length >= 30, `${node.writes.length} writes in ten minutes`)
  node.receipts.close()
})

test('a policy that the kernel refused, or that makes no sense, is told with its reason and not as enforced', async t => {
  const node = started()
  const failure = { reason: 'Refused', message: 'no room' }
  node.kernel = {
    worked: {},
    pods: undefined,
    asked: [{ policy: 'NetworkPolicy ns/x', revision: 'x', failure }, ...asks('y').asked],
  }
  node.receipts.changed()
  await node.pass(1000)
  t.deepEqual(await node.said(), {
    ...{ worked: {}, enforced: ['y'] },
    failing: [{ policy: 'NetworkPolicy ns/x', revision: 'x', ...failure }],
  })
  node.fault = { reason: 'Closed', message: 'spec.ingress: is no list' }
  node.kernel = asks('y')
  node.receipts.changed()
  await node.pass(3000)
  t.like(await node.said(), { enforced: [], failing: [{ revision: 'y', reason: 'Closed' }] })
  node.receipts.close()
})

test('a node with more policies than a receipt has room for does not say that it has worked through any kind', async t => {
  const node = started()
  node.receipts.changed()
  await node.pass(1000)
  node.kernel = asks(...Array.from({ length: MOST_ENFORCED + 1 }, (_, i) => `${i}`))
  node.receipts.changed()
  await node.pass(3000)
  const { worked, enforced } = await node.said()
  t.deepEqual([worked, enforced.length], [{}, MOST_ENFORCED])
  node.receipts.close()
})

test('nothing is said while a pass is under way, and a write that was refused is tried again, at once when it may work', async t => {
  const node = started()
  node.kernel = undefined
  node.receipts.changed()
  await node.pass(60_000)
  t.deepEqual(node.writes, [])
  node.kernel = asks('a')
  node.refuses = true
  node.receipts.changed()
  for (let minute = 0; minute < 60; minute++) await node.pass(60_000)
  t.true(node.writes.length < 25, `${node.writes.length} tries in an hour`)
  node.refuses = false
  node.receipts.retryNow()
  await node.pass(0)
  t.deepEqual((await node.said()).enforced, ['a'])
  node.receipts.close()
})

test('a receipt that somebody deleted is there again within twenty minutes', async t => {
  const node = started()
  node.receipts.changed()
  await node.pass(1000)
  await node.store.delete('PolicyReceipt', 'n1')
  await node.pass(1_200_000)
  t.deepEqual((await node.said()).enforced, ['a'])
  t.is(node.writes.length, 4)
  node.receipts.close()
})

test('the largest receipt is taken by margay-api', async t => {
  const server = await startApiServer()
  const store = openStore({ server: server.url, token: server.token })
  t.teardown(async () => {
    await store.close()
    await server.close()
  })
  const asked = Array.from({ length: MOST_ENFORCED + MOST_FAILING + 2 }, (_, i) => {
    const failure = i > MOST_ENFORCED ? { reason: 'Refused', message: 'ü'.repeat(1000) } : undefined
    return { policy: `NetworkPolicy ${'n'.repeat(63)}/${'p'.repeat(253)}`, revision: `${1e15 + i}`, failure }
  })
  const clock = new ManualClock()
  const receipts = new PolicyReceipts({
    ...{ nodeName: 'n1', store, clock, log: silentLog, nodes: () => 1, random: () => 0 },
    ...{ receipt: () => ({ worked: { NetworkPolicy: 'a' }, pods: '1', asked }), faultOf: () => undefined },
    ...{ asked: () => undefined, late: () => undefined },
  })
  receipts.changed()
  clock.advance(1)
  const written = await until(
    () => store.list('PolicyReceipt'),
    found => found?.length === 1,
  )
  receipts.close()
  const { worked, enforced, failing } = written[0]!.spec
  t.deepEqual([worked, enforced.length, failing.length], [{}, MOST_ENFORCED, MOST_FAILING])
})
