// The condition Allocatable of IPPools, under Calico's reasons.
import test from 'ava'
import { PoolConditions } from '../../controllers/pool-conditions.ts'
import { createFakeStore } from '../../datastore/fake.ts'
import { ManualClock } from '../../lib/clock.ts'
import { aPool } from '../datastore/objects.ts'

async function aWorld() {
  const store = createFakeStore()
  const clock = new ManualClock()
  let pools = await store.list('IPPool')
  let writes = 0
  const conditions = new PoolConditions({
    ...{ clock, pools: () => pools },
    store: {
      patch: (...args: Parameters<typeof store.patch>) => {
        writes++
        return store.patch(...args)
      },
    } as never,
  })
  const run = async () => {
    pools = await store.list('IPPool')
    await conditions.run()
  }
  const told = async (name: string) => {
    const { status } = await store.get('IPPool', name)
    return (status as { conditions: { type: string; status: string; reason: string; lastTransitionTime: string }[] })
      .conditions
  }
  return { store, clock, run, told, writes: () => writes }
}

const words = (all: readonly { type: string; status: string; reason: string }[]) =>
  all.map(({ type, status, reason }) => `${type} ${status} ${reason}`)

test('each pool says whether nodes take addresses of it, and why not', async t => {
  const { store, run, told, writes } = await aWorld()
  await store.create('IPPool', aPool('a-good', {}, { creationTimestamp: '2026-01-01T00:00:00Z' }))
  await store.create('IPPool', aPool('off', { cidr: '10.1.0.0/16', disabled: true }))
  await store.create('IPPool', aPool('going', { cidr: '10.2.0.0/16' }, { finalizers: ['margay/blocks'] }))
  await store.delete('IPPool', 'going')
  await run()
  t.deepEqual(words(await told('a-good')), ['Allocatable True OK'])
  t.deepEqual(words(await told('off')), ['Allocatable False PoolDisabled'])
  t.deepEqual(words(await told('going')), ['Allocatable False Terminating'])
  const before = writes()
  await run()
  t.is(writes(), before, 'what is so is not written again')
})

test('a pool that overlaps an older one says which, and is allocatable when that is gone', async t => {
  const { store, run, told } = await aWorld()
  const inner = aPool('inner', { cidr: '10.244.1.0/24' })
  const withBoth = [aPool('old'), inner]
  const overlapping = new PoolConditions({
    ...{ clock: new ManualClock(), pools: () => withBoth },
    store: { patch: async (_kind: string, name: string, patch: object) => void said.push([name, patch]) } as never,
  })
  const said: [string, object][] = []
  await overlapping.run()
  t.regex(JSON.stringify(said.find(([name]) => name === 'old')), /CIDROverlap.*overlaps the older IPPool inner/)
  await store.create('IPPool', inner)
  await run()
  t.deepEqual(words(await told('inner')), ['Allocatable True OK'])
})

test('the time of a change is that of the status alone, and conditions of others stay', async t => {
  const { store, clock, run, told } = await aWorld()
  await store.create('IPPool', aPool('p'))
  const other = {
    type: 'Checked',
    status: 'True',
    reason: 'X',
    message: '',
    lastTransitionTime: '2026-01-01T00:00:00Z',
  }
  const pool = await store.get('IPPool', 'p')
  await store.updateStatus('IPPool', { ...pool, status: { conditions: [other] } } as never)
  await run()
  const [, first] = await told('p')
  clock.advance(5_000)
  await store.patch('IPPool', 'p', { spec: { disabled: true } })
  await run()
  const all = await told('p')
  t.deepEqual(words(all), ['Checked True X', 'Allocatable False PoolDisabled'])
  t.not(all[1]!.lastTransitionTime, first!.lastTransitionTime)
})

test('a condition that another program writes over is written again after ten minutes, not at once', async t => {
  const { store, clock, run, told, writes } = await aWorld()
  await store.create('IPPool', aPool('p'))
  await run()
  for (let round = 0; round < 10; round++) {
    const pool = await store.get('IPPool', 'p')
    const foreign = { ...(await told('p'))[0]!, status: 'False', reason: 'Foreign', message: '' }
    await store.updateStatus('IPPool', { ...pool, status: { conditions: [foreign] } } as never)
    await run()
  }
  t.is(writes(), 1)
  clock.advance(600_000)
  await run()
  t.deepEqual(words(await told('p')), ['Allocatable True OK'])
})
