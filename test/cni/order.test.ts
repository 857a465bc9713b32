// Verbs that come while others are under way, or in another order than they were meant.
import test from 'ava'
import { handleCni } from '../../cni/handle.ts'
import { inspect } from '../../cni/inspect.ts'
import { added, aHost, call, POD } from './host.ts'
import { NOTHING, remains, withLinks } from './sound.ts'

test('an interface that comes again leaves the routes of another interface of its pod, which came after it, as they are', async t => {
  const host = await aHost()
  host.world.addNetns(POD)
  const pod = host.world.kernel().inside(POD)
  const defaults = async () =>
    (await pod.routes()).filter(({ dst }) => dst === '0.0.0.0/0').map(({ ifindex, metric }) => [ifindex, metric])
  const beside = (i: number) => ({ ifname: `net${i}`, conf: { name: 'second' } })
  t.is((await call(host, 'ADD')).exitCode, 0)
  for (const i of [1, 2]) t.is((await call(host, 'ADD', beside(i))).exitCode, 0)
  const [, ...others] = await defaults()
  t.is(new Set(others.map(([, metric]) => metric)).size, 2)
  t.is((await call(host, 'DEL')).exitCode, 0)
  t.is((await call(host, 'ADD')).exitCode, 0)
  t.deepEqual((await defaults()).slice(0, 2), others)
  t.is((await defaults()).length, 3)
})

test('a DEL that says no pod waits for the ADD of its container that says one, and leaves nothing of it', async t => {
  const host = await aHost()
  host.world.addNetns(POD)
  const { kernel } = host.deps
  const { promise, resolve } = Promise.withResolvers<void>()
  const createLink: typeof kernel.createLink = async spec => {
    await promise
    return kernel.createLink(spec)
  }
  const slow = { ...host, deps: { ...host.deps, kernel: withLinks(kernel, createLink) } }
  const adding = call(slow, 'ADD', { args: 'K8S_POD_NAMESPACE=default;K8S_POD_NAME=db-0' })
  while (host.deps.ipam.held().size === 0) await new Promise(setImmediate)
  const deleting = call(slow, 'DEL', { netns: '' })
  for (let turn = 0; turn < 50; turn++) await new Promise(setImmediate)
  t.is(host.deps.ipam.held().size, 1, 'the address of a running ADD is not given back')
  resolve()
  t.deepEqual([(await adding).exitCode, (await deleting).exitCode], [0, 0])
  t.deepEqual(await remains(host), NOTHING)
})

test('GC with a list that is older than an ADD leaves what that ADD made, while its namespace is there', async t => {
  const host = await aHost()
  const gc = () => call(host, 'GC', { conf: { 'cni.dev/valid-attachments': [] } })
  await added(host, 'ended', '/run/netns/ended')
  host.clock.advance(30_000)
  await added(host)
  host.world.removeNetns('/run/netns/ended')
  host.clock.advance(20_000)
  t.is((await gc()).exitCode, 0)
  t.deepEqual([...host.deps.ipam.held().keys()], ['net.c1.eth0'])
  host.clock.setWall(host.clock.wallMs() - 1000)
  t.is((await gc()).exitCode, 0)
  t.is(host.deps.ipam.held().size, 1, 'the clock was set back by a second')
  host.clock.advance(41_000)
  t.is((await gc()).exitCode, 0)
  t.deepEqual(await remains(host), NOTHING)
})

test('two sandboxes of one pod at once: the later one has the complete interface, and the row of the earlier one is deleted', async t => {
  const host = await aHost()
  const args = 'K8S_POD_NAMESPACE=default;K8S_POD_NAME=db-0'
  const ids = ['a', 'b']
  for (const id of ids) host.world.addNetns(`/run/netns/${id}`)
  const answers = await Promise.all(
    ids.map(id => {
      const env = {
        CNI_COMMAND: 'ADD',
        CNI_CONTAINERID: id,
        CNI_NETNS: `/run/netns/${id}`,
        CNI_IFNAME: 'eth0',
        CNI_ARGS: args,
      }
      return handleCni({ env, stdin: '{"cniVersion":"1.0.0","name":"net"}' }, host.deps)
    }),
  )
  t.deepEqual(
    answers.map(({ exitCode }) => exitCode),
    [0, 0],
  )
  t.deepEqual([...host.deps.ipam.held().keys()], ['net.b.eth0'])
  t.deepEqual(
    host.deps.endpoints.all().map(({ id }) => id),
    ['net/b/eth0'],
  )
  const { mismatches } = await inspect(host.deps.kernel, host.deps.endpoints.all()[0]!, {
    routeProtocol: 3,
    podsFiltered: true,
  })
  t.deepEqual(mismatches, [])
})
