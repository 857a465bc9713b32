// `margayctl datastore lock`: nodes claim no blocks and write none, and their pods do not notice.
import test from 'ava'
import { aCluster, cni, eventually, startAgent } from './machines.ts'

const locked = (datastoreReady: boolean) => ({ metadata: { name: 'default' }, spec: { datastoreReady } })

test('while the datastore is locked pods get addresses of blocks that their node has, and nothing is written until it is unlocked', async t => {
  const { store, network, machines } = await aCluster(t)
  const agent = await startAgent(t, machines[0], store, network)
  await eventually(
    t,
    'ready',
    () => agent.conditions(),
    () => agent.ready(),
  )
  t.is((await cni(agent, 'ADD', 'c1')).exitCode, 0)
  const blocks = () => store.list('IPAMBlock')
  const handles = async () => (await blocks()).flatMap(({ spec }) => spec.attributes.map(each => each.handle_id))
  const pods = (found: (string | undefined)[]) => found.filter(each => each?.startsWith('net.')).length
  await eventually(t, 'published', handles, found => pods(found) === 1)
  t.is((await cni(agent, 'ADD', 'c4')).exitCode, 0)
  await store.create('ClusterInformation', locked(false))
  await eventually(t, 'published, since somebody will export it', handles, found => pods(found) === 2)
  const writes: string[] = []
  const watch = store.watch('IPAMBlock', { event: ({ type }) => void writes.push(type) })
  t.teardown(() => watch.close())
  await eventually(
    t,
    'the first list',
    () => writes,
    found => found.length === 1,
  )
  const second = await cni(agent, 'ADD', 'c2')
  t.is(second.exitCode, 0, second.stdout)
  t.is((await cni(agent, 'DEL', 'c1')).exitCode, 0)
  t.is((await cni(agent, 'ADD', 'c3')).exitCode, 0)
  t.true(agent.ready())
  // what waits for its time to be published is asked for at once
  await t.throwsAsync(agent.allocator.flush(), { message: /the datastore is locked/ })
  t.deepEqual(writes, ['sync'])
  await store.update('ClusterInformation', locked(true))
  await eventually(
    t,
    'the unlock',
    () =>
      agent.allocator.flush().then(
        () => 'written',
        (error: Error) => error.message,
      ),
    said => said === 'written',
  )
  t.is(pods(await handles()), 3)
})

test('a node that starts while the datastore is locked claims no block, says why, and claims one at the unlock', async t => {
  const { store, network, machines } = await aCluster(t)
  await store.create('ClusterInformation', locked(false))
  const agent = await startAgent(t, machines[0], store, network)
  const says = () => JSON.stringify(agent.conditions())
  await eventually(t, 'the reason', says, text => text.includes('the datastore is locked'))
  t.deepEqual(await store.list('IPAMBlock'), [])
  await store.update('ClusterInformation', locked(true))
  await eventually(
    t,
    'a block',
    async () => (await store.list('IPAMBlock')).map(({ spec }) => spec.affinity),
    owners => owners.includes('host:n1'),
  )
})
