// Automatic route reflectors: what is asked for, and the chore that makes the moves.
import test from 'ava'
import { BGP_ANNOTATION, NODE_ANNOTATION } from '../../api/core.ts'
import { formatReflectors, MOST_REFLECTORS, parseReflectors, REFLECTORS_ANNOTATION } from '../../api/reflectors.ts'
import { Chores } from '../../controllers/chores.ts'
import { askedReflectors } from '../../controllers/reflector-wish.ts'
import { Reflectors, type ReflectorsDeps } from '../../controllers/reflectors.ts'
import { createFakeStore } from '../../datastore/fake.ts'
import { ManualClock } from '../../lib/clock.ts'
import { type Log, silentLog } from '../../lib/log.ts'
import { aResource } from '../datastore/objects.ts'

const metadata = (text: string) => ({ annotations: { [BGP_ANNOTATION.autoReflectors]: text } })

test('the annotation is read with commas or without, and an unknown word is refused with those that are known', t => {
  const label = 'topology.kubernetes.io/rack'
  const whole = { wish: { above: 100, perRack: 3, label } }
  t.deepEqual(askedReflectors(metadata(`above=100, per-rack=3, label=${label}`)), whole)
  t.deepEqual(askedReflectors(metadata(` above=100 per-rack=3 label=${label} `)), whole)
  t.deepEqual(askedReflectors(metadata('above=1')), { wish: { above: 1, perRack: 2 } })
  for (const none of [metadata(''), {}, undefined]) t.deepEqual(askedReflectors(none), {})
  t.is(
    askedReflectors(metadata('above=9 racks=3')).fault,
    'nothing is known of the word "racks", but of above, per-rack and label',
  )
  for (const bad of [
    'above=0',
    'above=x',
    'above',
    'per-rack=2',
    'above=9 per-rack=9',
    'above=9 label=',
    'above=9 label=a/b/c',
  ])
    t.truthy(askedReflectors(metadata(bad)).fault, bad)
})

test('a state is read as it was written; what somebody else wrote there is none', t => {
  for (const state of [
    { step: 7, mesh: 'thin', nodes: ['n1', 'n2.example.org'] },
    { step: 1, mesh: 'whole', nodes: [] },
  ] as const)
    t.deepEqual(parseReflectors(formatReflectors(state)), { ...state, nodes: [...state.nodes] })
  for (const text of [
    undefined,
    '',
    'thin',
    'step=1 mesh=off nodes=',
    'step=x mesh=thin nodes=a',
    'step=1 mesh=thin nodes=A B',
  ])
    t.is(parseReflectors(text), undefined)
  // one reflector is not two
  t.deepEqual(parseReflectors('step=1 mesh=thin nodes=a,a')?.nodes, ['a'])
  const nodes = Array.from({ length: MOST_REFLECTORS + 1 }, (_, i) => `n${i}`)
  t.is(parseReflectors(formatReflectors({ step: 1, mesh: 'thin', nodes })), undefined)
})

const NOW_MS = 1_700_000_000_000
const UNREADABLE = { unknown: { reason: 'Forbidden' as const, message: 'no right' }, current: undefined }

async function aChore(text: string, { spec = {}, asn = '' }: { spec?: object; asn?: string } = {}) {
  const [store, clock] = [createFakeStore(), new ManualClock()]
  const current = aResource('BGPConfiguration', { metadata: { name: 'default', ...metadata(text) }, spec })
  let object: ReflectorsDeps['configuration'] = { unknown: undefined, current }
  await store.create('ClusterInformation', aResource('ClusterInformation', { metadata: { name: 'default' }, spec: {} }))
  const names = ['a', 'b', 'c', 'd', 'e']
  for (const name of names)
    await store.create(
      'Node',
      aResource('Node', {
        metadata: {
          name,
          annotations: {
            [NODE_ANNOTATION.ipv4Address]: '192.0.2.1/24',
            ...(name === 'e' && { [NODE_ANNOTATION.routeReflectorClusterId]: '224.0.0.1' }),
            ...(name === 'a' && asn !== '' && { [NODE_ANNOTATION.asNumber]: asn }),
          },
        },
        status: { conditions: [{ type: 'Ready', status: 'True', lastTransitionTime: '2026-01-01T00:00:00Z' }] },
      }),
    )
  const said: string[] = []
  const log: Log = { ...silentLog, warn: (_: object | string, message?: string) => void said.push(message ?? '') }
  const chore = new Reflectors({
    ...{ store, clock, log, known: () => true, changed: () => undefined },
    configuration: {
      get unknown() {
        return object.unknown
      },
      get current() {
        return object.current
      },
    },
  })
  const now = async () =>
    (await store.get('ClusterInformation', 'default')).metadata.annotations?.[REFLECTORS_ANNOTATION]
  const run = async () => {
    const nextMs = await chore.run()
    for (let i = 0; i < 6; i++) await new Promise(setImmediate)
    return nextMs
  }
  const say = (step: number, via: string[]) => {
    for (const name of names.slice(0, 4))
      chore.take(name, { worked: {}, enforced: [], failing: [], reflection: { step, via, direct: true } })
  }
  const configure = (next: typeof object) => {
    object = next
  }
  return { store, clock, chore, now, run, say, configure, said }
}

test('the chore moves the cluster by one annotation, and never chooses a reflector that people made', async t => {
  const { now, run, say, chore, configure, clock } = await aChore('above=3')
  await run()
  await run()
  t.is(await now(), `step=${NOW_MS + 1} mesh=whole nodes=`)
  say(NOW_MS + 1, [])
  await run()
  await run()
  t.is(await now(), `step=${NOW_MS + 3} mesh=whole nodes=a,b`)
  await run()
  t.is(await now(), `step=${NOW_MS + 3} mesh=whole nodes=a,b`, 'nobody has said anything of it')
  clock.advance(180_000)
  await run()
  t.is(chore.problem?.reason, 'NodesBehind')
  t.regex(chore.problem!.message, /a, b, c, d$/)
  say(NOW_MS + 3, ['a', 'b'])
  await run()
  t.is(await now(), `step=${NOW_MS + 4} mesh=thin nodes=a,b`)
  say(NOW_MS + 4, ['a', 'b'])
  await run()
  t.is(chore.problem, undefined)
  configure(UNREADABLE)
  await run()
  t.is(chore.problem?.reason, 'Forbidden')
  configure({ unknown: undefined, current: undefined })
  await run()
  t.is(await now(), `step=${NOW_MS + 5} mesh=whole nodes=a,b`)
  chore.close()
})

test('a reflector whose agent has ended while its Node stays Ready is replaced after two minutes', async t => {
  const { store, now, run, say, chore, clock } = await aChore('above=3')
  const annotations = { [REFLECTORS_ANNOTATION]: 'step=4 mesh=thin nodes=a,b' }
  await store.patch('ClusterInformation', 'default', { metadata: { annotations } })
  say(4, ['b'])
  await run()
  await run()
  for (const seconds of [60, 59]) {
    clock.advance(seconds * 1000)
    await run()
    t.is(await now(), 'step=4 mesh=thin nodes=a,b')
  }
  clock.advance(2_000)
  await run()
  t.is(await now(), 'step=5 mesh=thin nodes=a,b,c')
  chore.close()
})

test('what was seen while this program led before counts for nothing where it leads again', async t => {
  const { store, now, say, chore, clock } = await aChore('above=3')
  const annotations = { [REFLECTORS_ANNOTATION]: 'step=4 mesh=thin nodes=a,b' }
  await store.patch('ClusterInformation', 'default', { metadata: { annotations } })
  say(4, ['b'])
  const chores = new Chores([chore], { clock, log: silentLog })
  const pass = async (seconds: number) => {
    for (let i = 0; i < seconds; i++) {
      clock.advance(1_000)
      for (let turn = 0; turn < 4; turn++) await new Promise(setImmediate)
    }
  }
  chores.lead(true)
  await pass(100)
  chores.lead(false)
  await pass(3_600)
  chores.lead(true)
  await pass(100)
  t.is(await now(), 'step=4 mesh=thin nodes=a,b')
  await pass(60)
  t.is(await now(), 'step=5 mesh=thin nodes=a,b,c')
  await chores.close()
  chore.close()
})

test('that nobody knows what is asked for is a problem where there are reflectors, and is logged once elsewhere', async t => {
  const { run, chore, configure, store, said } = await aChore('')
  configure(UNREADABLE)
  for (let i = 0; i < 3; i++) await run()
  t.is(chore.problem, undefined)
  t.deepEqual(said, ['automatic route reflectors are not chosen, nor moved'])
  const annotations = { [REFLECTORS_ANNOTATION]: 'step=4 mesh=thin nodes=a,b' }
  await store.patch('ClusterInformation', 'default', { metadata: { annotations } })
  await run()
  t.is(chore.problem?.reason, 'Forbidden')
  chore.close()
})

test('of two programs that decide on the same state one writes', async t => {
  const { store, now, run, say, chore } = await aChore('above=3')
  await run()
  await run()
  say(NOW_MS + 1, [])
  const annotations = { [REFLECTORS_ANNOTATION]: 'step=2 mesh=whole nodes=d' }
  const get = store.get
  // another one writes between the look and the write
  store.get = async (...args) => {
    const found = await get(...args)
    store.get = get
    await store.patch('ClusterInformation', 'default', { metadata: { annotations } })
    return found
  }
  t.is(await run(), chore.restMs)
  t.is(await now(), annotations[REFLECTORS_ANNOTATION])
  chore.close()
})

test('an annotation that makes no sense moves nothing; without a mesh, and with several AS numbers, there are no reflectors', async t => {
  const there = { [REFLECTORS_ANNOTATION]: 'step=4 mesh=thin nodes=a,b' }
  const after = async (...args: Parameters<typeof aChore>) => {
    const { store, now, run, chore } = await aChore(...args)
    await store.patch('ClusterInformation', 'default', { metadata: { annotations: there } })
    await run()
    await run()
    chore.close()
    return [chore.problem?.reason, await now()]
  }
  t.deepEqual(await after('above=many'), ['BadAutoReflectors', 'step=4 mesh=thin nodes=a,b'])
  t.deepEqual(await after('above=3', { spec: { nodeToNodeMeshEnabled: false } }), [
    ...['MeshOff', 'step=5 mesh=whole nodes=a,b'],
  ])
  t.deepEqual(await after('above=3', { asn: '65010' }), ['SeveralAsNumbers', 'step=5 mesh=whole nodes=a,b'])
  t.deepEqual(await after('above=3', { asn: '64512' }), [undefined, 'step=4 mesh=thin nodes=a,b'])
})

test('where the mesh is off and nobody asks for reflectors any more what is written goes, though nodes say nothing without a mesh', async t => {
  const { store, now, run, chore, say } = await aChore('', { spec: { nodeToNodeMeshEnabled: false } })
  const annotations = { [REFLECTORS_ANNOTATION]: 'step=4 mesh=thin nodes=a,b' }
  await store.patch('ClusterInformation', 'default', { metadata: { annotations } })
  say(4, ['a', 'b'])
  for (let i = 0; i < 5; i++) await run()
  t.is(await now(), 'step=5 mesh=whole nodes=a,b', 'who has not heard of it is waited for')
  for (const name of ['a', 'b', 'c', 'd']) chore.take(name, { worked: {}, enforced: [], failing: [] })
  for (let i = 0; i < 5; i++) await run()
  t.is(await now(), undefined)
  t.is(chore.problem, undefined)
  chore.close()
})

for (const yearsMs of [-30 * 365 * 86_400_000, 30 * 365 * 86_400_000])
  test(`a node that is not Ready is waited for so long as this program has seen that, whatever its clock says: ${yearsMs} ms`, async t => {
    const { store, now, run, say, chore, clock } = await aChore('above=3')
    const annotations = { [REFLECTORS_ANNOTATION]: 'step=4 mesh=whole nodes=a,b' }
    await store.patch('ClusterInformation', 'default', { metadata: { annotations } })
    const lastTransitionTime = new Date(clock.wallMs()).toISOString()
    const conditions = [{ type: 'Ready', status: 'Unknown', lastTransitionTime }]
    await store.patch('Node', 'd', { status: { conditions } }, { subresource: 'status' })
    clock.setWall(clock.wallMs() + yearsMs)
    say(4, ['a', 'b'])
    chore.take('d', undefined)
    for (const seconds of [0, 250, 49]) {
      clock.advance(seconds * 1_000)
      for (let i = 0; i < 3; i++) await run()
      t.is(await now(), 'step=4 mesh=whole nodes=a,b')
    }
    clock.advance(2_000)
    await run()
    t.is(await now(), 'step=5 mesh=thin nodes=a,b')
    chore.close()
  })
