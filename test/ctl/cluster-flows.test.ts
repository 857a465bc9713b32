// `flows` of all nodes: what their programs write is played here, with a clock that stands still.
import test from 'ava'
import type { Flow } from '../../api/answers.ts'
import { clusterFlows } from '../../ctl/cluster-flows.ts'
import { aPod, line, cluster as played, settled, type There } from './played-cluster.ts'

const cluster = (pods: object[], program: Parameters<typeof played>[2]) =>
  played((names, options, ...rest) => clusterFlows(names, { count: '100', ...options }, ...rest), pods, program)

function aFlow(second: number, because = 'x'): Flow {
  const at = new Date(second * 1000).toISOString()
  const [source, destination] = [{ address: '10.244.0.7' }, { address: '10.244.1.9' }]
  return {
    ...{
      first: at,
      last: at,
      packets: 1,
      verdict: 'deny',
      family: 'ipv4',
      protocol: 'tcp',
      source,
      destination,
      because,
    },
  }
}
test('a list has the flows of all nodes by time, with the name of each node, and asks each for what is wanted', async t => {
  const it = cluster([aPod('b'), aPod('a')], (there, { pod }) => {
    for (const second of pod === 'agent-a' ? [1, 4] : [2, 3]) there.write(line({ flow: aFlow(second) }))
    there.end()
  })
  t.is(await it.run({ count: '3', namespace: '-x', verdict: 'deny' }), 0)
  t.deepEqual(
    (JSON.parse(it.said.out).flows as { node: string }[]).map(({ node }) => node),
    ['b', 'b', 'a'],
  )
  t.deepEqual(it.asked[0], {
    ...{ namespace: 'kube-system', pod: 'agent-a', container: 'agent' },
    command: [
      ...['/usr/bin/node', '/opt/margay/margayctl.js', '__flows', '--count=3', '--namespace=-x', '--verdict=deny'],
    ],
  })
  t.is(it.said.err, '')
})

test('a table names the node of each flow', async t => {
  const it = cluster([aPod('a\u001b')], there => {
    there.write(line({ flow: aFlow(1) }))
    there.end()
  })
  t.is(await it.run({ output: 'table' }), 0)
  t.regex(it.said.out, /^NODE +LAST +VERDICT[^\n]+\na\\u001b +1970-01-01T00:00:01Z +deny /)
})

test('a node that cannot be asked is named with the reason, the others are shown, and the exit code is 1', async t => {
  const it = cluster(
    [aPod('a'), aPod('b'), aPod('c', { ready: false }), aPod('d'), aPod('x', { owner: 'other' })],
    (there, { pod }) => {
      if (pod === 'agent-b') throw new Error('the API server refuses (403)')
      if (pod === 'agent-d') there.write('margayctl: there is no socket\n', 'err')
      else there.write(line({ flow: aFlow(1) }))
      there.end(pod === 'agent-d' ? 'exit code 3' : undefined)
    },
  )
  t.is(await it.run(), 1)
  t.is(JSON.parse(it.said.out).flows.length, 1)
  t.deepEqual(it.said.err.trim().split('\n').toSorted(), [
    'node b is not asked: the API server refuses (403)',
    'node c is not asked: its pod agent-c is not ready',
    'node d is not asked: margayctl: there is no socket',
  ])
  t.deepEqual(
    it.asked.map(({ pod }) => pod),
    ['agent-a', 'agent-b', 'agent-d'],
  )
})

test('a node that hangs, before or after it began, is given up and its program ended', async t => {
  const theres: There[] = []
  const begins = Promise.withResolvers<void>()
  const it = cluster([aPod('a'), aPod('b')], async (there, { pod }) => {
    theres.push(there)
    if (pod === 'agent-b') await begins.promise
  })
  const run = it.run()
  await settled()
  it.clock.advance(10_000)
  t.is(await run, 1)
  t.is(it.said.err.match(/is not asked: no answer in 10 s/g)?.length, 2)
  begins.resolve()
  await settled()
  t.deepEqual(
    theres.map(({ closed }) => closed),
    [true, true],
  )
})

test('lines that are no flows, are cut, too long or too many are nothing, and a line may come in pieces', async t => {
  const it = cluster([aPod('a')], there => {
    const whole = line({ flow: aFlow(1, 'ü') })
    there.write('garbage\n{}\n[1]\n{"flow":{}}\n\n')
    there.write(`"${'x'.repeat(2 << 20)}`)
    there.write('"\n')
    for (const character of whole) there.write(character)
    for (let i = 0; i < 5; i++) there.write(whole)
    there.write(whole.slice(0, 20))
    there.end()
  })
  t.is(await it.run({ count: '3' }), 0)
  t.deepEqual(
    (JSON.parse(it.said.out).flows as Flow[]).map(({ because }) => because),
    ['ü', 'ü', 'ü'],
  )
})

test('--follow shows what comes with its node until it is interrupted, and then ends every program', async t => {
  const theres = new Map<string, There>()
  const it = cluster([aPod('a'), aPod('b')], (there, { pod }) => void theres.set(pod, there))
  const run = it.run({ follow: true })
  await settled()
  theres.get('agent-b')!.write(line({ flow: aFlow(2) }) + line({ lost: 7 }))
  theres.get('agent-a')!.write(line({ flow: aFlow(1) }))
  it.interrupt()
  t.is(await run, 0)
  t.is(it.said.out, line({ node: 'b', ...aFlow(2) }) + line({ node: 'a', ...aFlow(1) }))
  t.is(it.said.err, 'b: 7 packets are told nowhere: there were too many.\n')
  t.deepEqual([theres.get('agent-a')!.closed, theres.get('agent-b')!.closed], [true, true])
})

test('--follow takes in nodes that join and agents that start again within 30 s, and tells once who is missing', async t => {
  let starts = 0
  const theres: There[] = []
  const it = cluster([aPod('a')], there => {
    starts++
    theres.push(there)
  })
  const run = it.run({ follow: true })
  await settled()
  theres[0]!.end()
  it.pods.push(aPod('b'), aPod('c', { ready: false }))
  await settled()
  t.is(it.said.err, 'node a is not followed: it ended\n')
  for (const _ of [1, 2]) {
    it.clock.advance(30_000)
    await settled()
    t.is(starts, 3)
  }
  it.lose()
  it.clock.advance(30_000)
  await settled()
  theres[1]!.write(line({ flow: aFlow(1) }))
  t.is(it.said.out, line({ node: 'a', ...aFlow(1) }))
  it.interrupt()
  t.is(await run, 1)
  t.deepEqual(it.said.err.trim().split('\n').slice(1), [
    'node c is not followed: its pod agent-c is not ready',
    'new nodes are not known: no answer. It is tried again.',
  ])
})

test('--follow has 256 nodes at the most and names the others; where not one can be followed it ends', async t => {
  const many = Array.from({ length: 257 }, (_, i) => aPod(`n${i + 1000}`))
  const it = cluster(many, () => {})
  const run = it.run({ follow: true })
  for (let i = 0; i < 20; i++) await settled()
  t.is(it.asked.length, 256)
  t.is(it.said.err, 'node n1256 is not followed: 256 nodes are followed at the most: name those that matter\n')
  it.interrupt()
  t.is(await run, 1)
  const none = cluster([aPod('a', { ready: false })], () => {})
  t.is(await none.run({ follow: true }), 1)
})

test('names choose nodes, and one without an agent is an error, as is a namespace without any', async t => {
  const it = cluster([aPod('a'), aPod('b')], there => there.end())
  t.is(await it.run({}, ['b']), 0)
  t.deepEqual(
    it.asked.map(({ pod }) => pod),
    ['agent-b'],
  )
  await t.throwsAsync(it.run({}, ['z']), { message: /no agent runs on z/ })
  await t.throwsAsync(cluster([], () => {}).run(), { message: /--margay-namespace/ })
})
