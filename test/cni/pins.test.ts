// When the names that the plugin mounted for namespaces may go.
import test from 'ava'
import { pinPath } from '../../cni/netns.ts'
import { ERRNO, KernelError } from '../../kernel/port/error.ts'
import { added, aHost, call } from './host.ts'

test('a name whose ADD never came is taken away after 130 s, and none of an ADD under way', async t => {
  const host = await aHost()
  host.world.addNetns(pinPath(7))
  await added(host, 'other', '/run/netns/other')
  t.is((await call(host, 'DEL', { id: 'nobody' })).unpin, undefined)
  host.clock.advance(129_999)
  t.is((await call(host, 'DEL', { id: 'nobody' })).unpin, undefined)
  host.clock.advance(1)
  {
    using _ = host.deps.pins.hold(7)
    t.is((await call(host, 'DEL', { id: 'nobody' })).unpin, undefined)
  }
  t.deepEqual((await call(host, 'DEL', { id: 'nobody' })).unpin, [{ netns: 7 }])
})

test('while a row uses a name it goes only where its path leads elsewhere, and with the answer to DEL in any case', async t => {
  const host = await aHost()
  host.world.addNetns(pinPath(7))
  const netns = '/proc/100/ns/net'
  const add = await call(host, 'ADD', { netns, number: 7 })
  t.deepEqual([JSON.parse(add.stdout).interfaces[1].sandbox, add.unpin], [netns, [{ netns: 7, unless: netns }]])
  t.deepEqual((await call(host, 'DEL', { id: 'nobody' })).unpin, [{ netns: 7, unless: netns }])
  t.deepEqual((await call(host, 'DEL', { netns: '' })).unpin, [{ netns: 7 }])
})

test('one plugin is told to take a name away: a second one could come when another namespace has the number', async t => {
  const host = await aHost()
  host.world.addNetns(pinPath(7))
  await call(host, 'ADD', { netns: '/proc/100/ns/net', number: 7 })
  t.deepEqual((await call(host, 'DEL', { netns: '' })).unpin, [{ netns: 7 }])
  t.is((await call(host, 'DEL', { id: 'nobody' })).unpin, undefined)
  host.clock.advance(130_000) // the plugin that was told it is gone without having done it
  t.deepEqual((await call(host, 'DEL', { id: 'nobody' })).unpin, [{ netns: 7 }])
})

test('a name stays while another plugin is asked for the address of its ADD', async t => {
  const host = await aHost()
  host.world.addNetns(pinPath(7))
  const conf = { ipam: { type: 'host-local', subnet: '10.9.0.0/24' } }
  const asked = await call(host, 'ADD', { netns: '/proc/100/ns/net', number: 7, conf })
  t.deepEqual([asked.exitCode, asked.stdout, asked.unpin], [0, '', undefined])
  t.truthy(asked.delegate)
  host.clock.advance(120_000)
  t.is((await call(host, 'DEL', { id: 'nobody' })).unpin, undefined)
})

test('only names that the plugin makes are its to unmount', async t => {
  const host = await aHost()
  for (const name of ['margay-', 'margay-x', 'margay-07', 'margay-7x', 'margay-1e3', 'x-margay-7'])
    host.world.addNetns(`/run/netns/${name}`)
  await call(host, 'GC')
  host.clock.advance(600_000)
  t.is((await call(host, 'DEL', { id: 'nobody' })).unpin, undefined)
})

test('where no plugin made a name none is looked for with every answer: once in 130 s, and with the answer to a plugin that made one', async t => {
  const host = await aHost()
  const listed = host.world.namespaces.bind(host.world)
  let looks = 0
  host.world.namespaces = () => {
    looks++
    return listed()
  }
  for (let i = 0; i < 5; i++) await call(host, 'DEL', { id: 'nobody' })
  t.is(looks, 1)
  host.clock.advance(130_000)
  for (let i = 0; i < 5; i++) await call(host, 'DEL', { id: 'nobody' })
  t.is(looks, 2)
  host.world.addNetns(pinPath(7))
  await call(host, 'ADD', { netns: '/proc/100/ns/net', number: 7 })
  t.is(looks, 3)
  t.deepEqual((await call(host, 'DEL', { netns: '' })).unpin, [{ netns: 7 }])
  host.world.removeNetns(pinPath(7))
  for (let i = 0; i < 5; i++) await call(host, 'DEL', { id: 'nobody' })
  t.is(looks, 5, 'once more, for the one that is gone now')
})

test('a look that the kernel refuses finds nothing out: the next answer looks again', async t => {
  const host = await aHost()
  host.world.addNetns(pinPath(7))
  const listed = host.world.namespaces.bind(host.world)
  host.world.namespaces = () => {
    host.world.namespaces = listed
    throw new KernelError(ERRNO.EMFILE, 'list', '/run/netns')
  }
  await call(host, 'DEL', { id: 'nobody' })
  await call(host, 'DEL', { id: 'nobody' })
  host.clock.advance(130_000)
  t.deepEqual((await call(host, 'DEL', { id: 'nobody' })).unpin, [{ netns: 7 }])
})
