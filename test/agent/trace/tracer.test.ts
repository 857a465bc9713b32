// What a node does for a probe, on the kernel in memory: what it brings, what it refuses, and that it takes all away again.
import test, { type ExecutionContext } from 'ava'
import { MATCHES, PLACES, ruleName } from '../../../agent/trace/trace-table.ts'
import { Tracer, type TracerDeps } from '../../../agent/trace/tracer.ts'
import { type ProbePacket, TRACE_MS, type TraceFacts, type TraceOrder } from '../../../api/trace.ts'
import { FakeWorld } from '../../../kernel/fake/world.ts'
import { ERRNO, KernelError } from '../../../kernel/port/error.ts'
import type { Kernel } from '../../../kernel/port/kernel.ts'
import type { TraceStep } from '../../../kernel/port/trace.ts'
import { probePort } from '../../../kernel/probe-packets.ts'
import { ManualClock } from '../../../lib/clock.ts'
import { silentLog } from '../../../lib/log.ts'

const TABLE = { family: 'inet', name: 'margay-trace' } as const
const MARKER = '00112233aabbccdd'
const PACKET: ProbePacket = { source: '10.244.1.5', destination: '10.244.2.5', protocol: 'tcp', destinationPort: 80 }
const ARM: TraceOrder = { do: 'arm', packet: PACKET, marker: MARKER }
const COLLECT: TraceOrder = { do: 'collect', marker: MARKER }

function aTracer(change: Partial<TracerDeps> = {}) {
  const world = new FakeWorld()
  const kernel = world.kernel()
  const clock = new ManualClock()
  const tracer = new Tracer({
    ...{ kernel, nodeName: 'n1', table: TABLE.name, interfacePrefix: 'cali', clock, log: silentLog },
    isOurs: table => table.startsWith('margay'),
    podAt: () => ({ netns: '/run/netns/pod', interfaceName: 'cali1' }),
    send: async () => ({ sent: 1, outcome: 'answered' }),
    ...change,
  })
  return { world, kernel, clock, tracer, table: () => kernel.nftables(TABLE) }
}

async function facts(t: ExecutionContext, tracer: Tracer): Promise<[TraceFacts, TraceFacts]> {
  const answer = await tracer.answer(COLLECT)
  if (!('facts' in answer)) {
    t.fail(JSON.stringify(answer))
    throw new Error('no facts')
  }
  return answer.facts as [TraceFacts, TraceFacts]
}

test('a table that nobody else may change counts and traces the probe in both directions and in tunnels, and decides nothing', async t => {
  const { kernel, tracer, table } = aTracer()
  await kernel.createLink({ kind: 'bridge', name: 'eth0' })
  await kernel.createLink({ kind: 'bridge', name: 'cali1' })
  await kernel.createLink({ kind: 'bridge', name: 'cali2' })
  for (const name of ['eth0', 'cali1', 'cali2']) await kernel.setLink(name, { up: true })
  t.deepEqual(await tracer.answer(ARM), { armed: true })
  const found = (await table())!
  t.is(found.table.flags, 2)
  t.deepEqual(
    found.chains
      .map(({ name, base }) => `${name} ${base?.type} ${base?.hook} ${base?.priority} ${base?.policy}`)
      .sort(),
    [
      'in filter prerouting -2147483648 accept',
      'left filter postrouting 2147483647 accept',
      'made filter output -2147483648 accept',
      'taken filter input 2147483647 accept',
      'wire filter ingress -2147483648 accept',
    ],
  )
  t.deepEqual(
    found.chains.find(({ name }) => name === 'wire')?.base?.devices,
    ['eth0', 'cali1'],
    "of pods the question's",
  )
  t.deepEqual(
    [...new Set(found.rules.map(({ comment }) => comment))].sort(),
    MATCHES.flatMap(match => PLACES.map(place => ruleName(match, place))).sort(),
  )
  const decides = found.rules.filter(({ expressions }) =>
    expressions.some(step => step.type === 'immediate' && step.load === 0),
  )
  t.deepEqual(decides, [])
  for (const { chain, expressions } of found.rules) {
    const types = expressions.map(({ type }) => type)
    t.is(types.includes('limit'), ['wire', 'in', 'made'].includes(chain))
    t.true(
      !types.includes('limit') || types.indexOf('counter') < types.indexOf('limit'),
      'what is not traced is counted',
    )
  }
  await facts(t, tracer)
  t.is(await table(), undefined)
})

test('one probe is followed at a time, by whoever has its marker, and its packets are sent once', async t => {
  const sending = Promise.withResolvers<void>()
  const { tracer, table } = aTracer({
    send: async () => {
      await sending.promise
      return { sent: 2, outcome: 'refused', said: 'no' }
    },
  })
  const other = 'ffffffffffffffff'
  const [first, second] = await Promise.all([tracer.answer(ARM), tracer.answer({ ...ARM, marker: other })])
  t.deepEqual(first, { armed: true })
  t.like(second, { status: 503 })
  t.like(await tracer.answer({ ...ARM, marker: other }), { status: 503 })
  t.like(await tracer.answer({ do: 'send', marker: other }), { status: 410 })
  t.like(await tracer.answer({ do: 'collect', marker: other }), { status: 410 })
  const sent = tracer.answer({ do: 'send', marker: MARKER })
  t.like(await tracer.answer({ do: 'send', marker: MARKER }), { status: 503 })
  sending.resolve()
  t.deepEqual(await sent, { sent: 2, outcome: 'refused', said: 'no' })
  const [there, back] = await facts(t, tracer)
  t.like(there, { node: 'n1', direction: 'there', sent: 2, outcome: 'refused', said: 'no' })
  t.like(back, { direction: 'back', sent: 0, outcome: undefined })
  t.like(await tracer.answer(COLLECT), { status: 410 })
  t.deepEqual(await tracer.answer({ ...ARM, marker: other }), { armed: true })
  await tracer.close()
  t.is(await table(), undefined)
})

test('what nobody collects ends by itself', async t => {
  const { tracer, table, clock, world } = aTracer()
  await tracer.answer(ARM)
  clock.advance(TRACE_MS - 1)
  t.not(await table(), undefined)
  clock.advance(1)
  t.like(await tracer.answer(COLLECT), { status: 410 })
  world.trace([{ packet: 1, family: 'inet', table: 't', chain: 'c', of: 'rule', verdict: 'drop' }])
  t.deepEqual(await tracer.answer(ARM), { armed: true }, 'the next one may begin')
  const [there] = await facts(t, tracer)
  t.is(there.dropped, undefined)
})

test('an agent that starts deletes the table of one that was killed where tables stay', async t => {
  const { tracer, table, kernel } = aTracer()
  await kernel.changeNftables([{ verb: 'add', object: { kind: 'table', ...TABLE } }])
  tracer.start()
  t.deepEqual(await tracer.answer(ARM), { armed: true })
  await facts(t, tracer)
  t.is(await table(), undefined)
})

/** A kernel that refuses what `refuses` says, as older ones do. */
function refusing(kernel: Kernel, refuses: (changes: Parameters<Kernel['changeNftables']>[0]) => boolean): Kernel {
  const changeNftables: Kernel['changeNftables'] = async (changes, options) =>
    refuses(changes)
      ? [{ index: 0, error: new KernelError(ERRNO.EOPNOTSUPP, 'nft', 'table') }]
      : kernel.changeNftables(changes, options)
  return new Proxy(kernel, {
    get: (target, name) => {
      const found: unknown = name === 'changeNftables' ? changeNftables : Reflect.get(target, name)
      return typeof found === 'function' ? found.bind(target) : found
    },
  })
}

test('a table that the kernel makes after its time was over goes too, and nobody is told that it is there', async t => {
  const world = new FakeWorld()
  const [kernel, clock] = [world.kernel(), new ManualClock()]
  const slow = refusing(kernel, ([first]) => {
    if (first?.verb !== 'create' || first.object.kind !== 'table' || first.object.flags === undefined) return false
    clock.advance(TRACE_MS)
    return true
  })
  const { tracer } = aTracer({ kernel: slow, clock })
  t.like(await tracer.answer(ARM), { status: 503 })
  t.is(await kernel.nftables(TABLE), undefined)
})

test('an older kernel has a table without an owner, or counts nothing at interfaces, and says so', async t => {
  const world = new FakeWorld()
  const kernel = world.kernel()
  await kernel.createLink({ kind: 'bridge', name: 'eth0' })
  await kernel.setLink('eth0', { up: true })
  const isMaking = (changes: Parameters<Kernel['changeNftables']>[0]) => changes[0]?.verb === 'create'
  const old = refusing(
    kernel,
    changes =>
      isMaking(changes) &&
      changes.some(
        ({ object }) =>
          (object.kind === 'table' && 'flags' in object) || ('base' in object && object.base?.hook === 'ingress'),
      ),
  )
  const { tracer } = aTracer({ kernel: old })
  t.deepEqual(await tracer.answer(ARM), { armed: true })
  t.is((await kernel.nftables(TABLE))?.table.flags, undefined)
  const [there] = await facts(t, tracer)
  t.is(there.received, undefined)
  const none = aTracer({ kernel: refusing(kernel, isMaking) })
  t.like(await none.tracer.answer(ARM), {
    status: 503,
    error: 'the kernel does not let its packets be followed: nft table: EOPNOTSUPP',
  })
  t.like(await none.tracer.answer(COLLECT), { status: 410 })
})

test('steps of others count for nothing, and no more than 2,000 are kept, which is told', async t => {
  const { tracer, world, table } = aTracer()
  await tracer.answer(ARM)
  const handles = new Map((await table())!.rules.map(({ comment, handle }) => [comment, handle]))
  const step = (packet: number, change: Partial<TraceStep>): TraceStep => ({
    ...{ packet, family: 'inet', table: 'fw', chain: 'c', of: 'rule', handle: 9, verdict: 'continue' },
    ...change,
  })
  const own = (packet: number) =>
    step(packet, { table: TABLE.name, chain: 'in', handle: handles.get(ruleName('there', 'in'))! })
  world.trace([
    // another one traces this
    step(7, { verdict: 'drop' }),
    own(1),
    step(1, { chain: 'd', of: 'policy', verdict: 'drop' }),
    // the kernel took the number again
    step(1, { verdict: 'drop' }),
    own(1),
    step(1, { chain: 'd', of: 'policy', verdict: 'drop' }),
  ])
  const [there] = await facts(t, tracer)
  t.deepEqual(there.dropped, {
    ...{ family: 'inet', table: 'fw', chain: 'd', rule: 'policy drop', ours: false, count: 2, outer: false },
  })
  t.false(there.incomplete)
  await tracer.answer(ARM)
  world.trace(Array.from({ length: 2001 }, () => step(3, {})))
  t.true((await facts(t, tracer))[0].incomplete)
  await tracer.answer(ARM)
  world.trace([], { lost: true })
  t.true((await facts(t, tracer))[0].incomplete)
})

test("the probe's entries of connection tracking are deleted, whatever their addresses became, and no others", async t => {
  const { tracer, world, kernel } = aTracer()
  const source = probePort({ marker: MARKER })
  const tuple = (from: string, to: string, ports: { source: number; destination: number }) => ({
    ...{ source: from, destination: to, protocol: 6, ports },
  })
  const flow = (id: number, from: string, to: string, port: number) => ({
    ...{ id, family: 'ipv4' as const, isExpected: false, isAnswered: true },
    original: tuple(from, to, { source: port, destination: 80 }),
    reply: tuple(to, from, { source: 80, destination: port }),
  })
  world.tracked.flows.push(flow(1, PACKET.source, PACKET.destination, source))
  world.tracked.flows.push(flow(2, '192.0.2.1', PACKET.destination, source))
  world.tracked.flows.push(flow(3, PACKET.source, PACKET.destination, source === 40000 ? 40001 : 40000))
  await tracer.answer(ARM)
  await facts(t, tracer)
  const left: number[] = []
  await kernel.flowsOf('all', ({ id }) => left.push(id))
  t.deepEqual(left, [3])
})
