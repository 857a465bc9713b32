// Two whole agents while somebody sets the wall clock: hours and a year ahead and back, to 1970 and to the last year that a time can have.
import test from 'ava'
import { type Clock, systemClock } from '../../lib/clock.ts'
import { aCluster, cni, eventually, learnedRoutes, startAgent } from './machines.ts'

const HOUR_MS = 3_600_000
const YEAR_MS = 365 * 24 * HOUR_MS

test('a wall clock that is set ends no session, frees and loses no address, and keeps events and conditions in order', async t => {
  const { store, network, machines } = await aCluster(t)
  let offsetMs = 0
  const clock: Clock = { ...systemClock, wallMs: () => Date.now() + offsetMs }
  const agents = [
    await startAgent(t, machines[0], store, network, clock),
    await startAgent(t, machines[1], store, network, clock),
  ] as const
  const [one, two] = agents
  await eventually(
    t,
    'ready, with a session',
    () => agents.every(agent => agent.ready() && agent.status().peers[0]?.state === 'Established'),
    is => is,
  )
  await eventually(
    t,
    'a route',
    () => learnedRoutes(machines[0]),
    routes => routes.length > 0,
  )
  const routes = await learnedRoutes(machines[0])
  const pods = () => one.status().endpoints?.flatMap(({ addresses }) => addresses) ?? []

  const first = await cni(one, 'ADD', 'c0')
  t.is(first.exitCode, 0, first.stdout)
  for (const [index, wallMs] of [
    Date.now() + 10 * HOUR_MS,
    Date.now() - 10 * HOUR_MS,
    Date.now() + YEAR_MS,
    Date.now() - YEAR_MS,
    0,
    Date.UTC(9999, 11, 31),
    Date.now(),
  ].entries()) {
    offsetMs = wallMs - Date.now()
    const container = `c${1 + (index % 4)}`
    const added = await cni(one, 'ADD', container)
    t.is(added.exitCode, 0, added.stdout)
    t.is(new Set(pods()).size, 2, 'each pod has its own address')
    const published = async () => {
      await one.allocator.flush() // it would wait for more changes
      const blocks = await store.list('IPAMBlock')
      return blocks.flatMap(({ spec }) => spec.attributes).filter(({ handle_id }) => handle_id?.includes(container))
        .length
    }
    await eventually(t, 'published', published, count => count === 1)
    t.is((await cni(one, 'DEL', container)).exitCode, 0)
    await eventually(t, 'published', published, count => count === 0)
    t.true(one.ready() && two.ready(), JSON.stringify(one.conditions().filter(({ status }) => status !== 'True')))
    t.deepEqual(await learnedRoutes(machines[0]), routes)
    for (const agent of agents) t.is(agent.status().peers[0]?.flaps, 0)
    // an event has its place by its number, not by its time
    one.events.record({ type: 'Healed', object: { kind: 'Node', name: 'n1' }, reason: String(index), message: '' })
    t.is(one.events.last(1)[0]?.reason, String(index))
  }
  await one.close()
  offsetMs = -Date.now()
  const again = await startAgent(t, machines[0], store, network, clock)
  await eventually(
    t,
    'ready in 1970',
    () => again.ready(),
    is => is,
  )
  t.is(again.endpoints.live().length, 1)
  t.is((await cni(again, 'DEL', 'c0')).exitCode, 0)
})
