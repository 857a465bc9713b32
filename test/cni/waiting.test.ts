// ADDs that wait for a block of addresses while the API server does not answer, and what comes meanwhile.
import type { IncomingMessage, ServerResponse } from 'node:http'
import { Readable } from 'node:stream'
import test from 'ava'
import type { CniAnswer } from '../../cni/handle.ts'
import { answerCni } from '../../cni/http.ts'
import { createFakeStore, type FakeStore } from '../../datastore/fake.ts'
import { aPool } from '../ipam/world.ts'
import { added, aHost, call, type Host } from './host.ts'

/** A node with four addresses and two pods, whose API server answers no create of a block any more. */
async function aStuckHost(): Promise<Host & { unhang(): void }> {
  const store = createFakeStore()
  const { promise, resolve } = Promise.withResolvers<void>()
  let hangs = false
  const create: FakeStore['create'] = async (kind, object) => {
    if (hangs) await promise
    return store.create(kind, object)
  }
  const options = { store: { ...store, create }, pools: [aPool('p', '10.0.0.0/24', 30)] }
  const host = await aHost(undefined, undefined, undefined, options)
  await added(host, 'a', '/run/netns/a')
  await added(host, 'b', '/run/netns/b')
  hangs = true
  return { ...host, unhang: resolve }
}

/** What an answer is after so many turns of the event loop, on a clock that stands still. */
async function soon(answer: Promise<CniAnswer>): Promise<CniAnswer | 'waits'> {
  for (let i = 0; i < 200; i++) {
    const seen = await Promise.race([answer, new Promise<'waits'>(resolve => setImmediate(resolve, 'waits'))])
    if (seen !== 'waits') return seen
  }
  return 'waits'
}

const waiting = (host: Host, count: number) =>
  Array.from({ length: count }, (_, i) => {
    host.world.addNetns(`/run/netns/w${i}`)
    return call(host, 'ADD', { id: `w${i}`, netns: `/run/netns/w${i}` })
  })

test('with 500 ADDs that wait for a block and an API server that hangs, DEL and CHECK are answered at once', async t => {
  const host = await aStuckHost()
  const prevResult = JSON.parse((await call(host, 'ADD', { id: 'a', netns: '/run/netns/a' })).stdout)
  const adds = waiting(host, 500)
  t.is(await soon(adds.at(-1)!), 'waits')
  t.deepEqual(await soon(call(host, 'CHECK', { id: 'a', netns: '/run/netns/a', conf: { prevResult } })), {
    exitCode: 0,
    stdout: '',
  })
  t.deepEqual(await soon(call(host, 'DEL', { id: 'b', netns: '/run/netns/b' })), { exitCode: 0, stdout: '' })
  host.clock.advance(10_000)
  const codes = (await Promise.all(adds)).map(({ exitCode, stdout }) => (exitCode === 0 ? 0 : JSON.parse(stdout).code))
  t.deepEqual([...new Set(codes)].sort(), [0, 11])
})

test('a DEL ends the ADD of the same interface that waits for a block, and nothing comes after it', async t => {
  const host = await aStuckHost()
  const adds = waiting(host, 4)
  const states = await Promise.all(adds.map(soon))
  const at = states.indexOf('waits')
  t.not(at, -1)
  const id = `w${at}`
  t.deepEqual(await soon(call(host, 'DEL', { id, netns: `/run/netns/${id}` })), { exitCode: 0, stdout: '' })
  const ended = await soon(adds[at]!)
  t.regex(ended === 'waits' ? ended : ended.stdout, /DEL came while this ADD was waiting for its turn or for a block/)
  host.unhang()
  await Promise.all(adds.map(soon))
  t.is(host.deps.endpoints.get('net', { containerID: id, ifname: 'eth0' }), undefined)
})

test('a stop of the agent ends the ADDs that wait for a block, which the runtime tries again', async t => {
  const host = await aStuckHost()
  const adds = waiting(host, 20)
  t.is(await soon(adds.at(-1)!), 'waits')
  host.allocator.refuse()
  const answers = await Promise.all(adds.map(soon))
  t.deepEqual(
    answers.filter(answer => answer === 'waits'),
    [],
  )
  t.regex(JSON.stringify(answers), /the agent is stopping/)
})

test('ADDs that waited are served when the block comes, each with its own address', async t => {
  const host = await aStuckHost()
  const adds = waiting(host, 20)
  t.is(await soon(adds.at(-1)!), 'waits')
  host.unhang()
  for (const answer of await Promise.all(adds)) t.is(answer.exitCode, 0, answer.stdout)
  const addresses = host.deps.endpoints.all().flatMap(each => each.addresses)
  t.is(new Set(addresses).size, 22)
})

test('while an ADD waits, the plugin hears a sign of life every two seconds, and then the answer', async t => {
  const host = await aStuckHost()
  const adds = waiting(host, 4)
  const states = await Promise.all(adds.map(soon))
  const at = states.indexOf('waits')
  const written: string[] = []
  const response = {
    writeHead: () => response,
    flushHeaders: () => written.push('head'),
    write: (text: string) => written.push(text),
    end: (text: string) => written.push(text),
    once: () => response,
  } as unknown as ServerResponse
  const env = { CNI_COMMAND: 'ADD', CNI_CONTAINERID: 'late', CNI_NETNS: `/run/netns/w${at}`, CNI_IFNAME: 'eth1' }
  const body = JSON.stringify({ env, stdin: '{"cniVersion":"1.0.0","name":"net"}' })
  const answered = answerCni(Readable.from([Buffer.from(body)]) as IncomingMessage, response, host.deps)
  while (written.length === 0) await new Promise(setImmediate)
  for (let i = 0; i < 5; i++) {
    t.is(written.length, i + 1)
    host.clock.advance(2_000)
    await new Promise(setImmediate)
  }
  await answered
  t.deepEqual(written.slice(0, 5), ['head', ' ', ' ', ' ', ' '])
  t.is(JSON.parse(written.slice(1).join('')).exitCode, 1)
})
