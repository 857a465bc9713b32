// What only real sockets can show: overruns, sockets that break, many requests at once, and entering namespaces.
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, readlinkSync, writeFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import test from 'ava'
import { echo } from '../../kernel/echo.ts'
import { socketName } from '../../kernel/libc.ts'
import { openKernel } from '../../kernel/linux/kernel.ts'
import { Requests } from '../../kernel/netlink/requests.ts'
import { openMonitor } from '../../kernel/netlink/route/monitor.ts'
import { RTM } from '../../kernel/netlink/route/numbers.ts'
import { emitRoute } from '../../kernel/netlink/route/route.ts'
import { addNetns, listNetns, netnsPath, removeNetns, runInNetns, spawnInNetns } from '../../kernel/netns.ts'
import { ERRNO, KernelError } from '../../kernel/port/error.ts'
import type { KernelEvent } from '../../kernel/port/kernel.ts'
import { bindTcp, closeSocket, openTcp } from '../../kernel/sockopt.ts'
import { systemProgram } from '../../lib/system-program.ts'
import { ANSWER_MS } from '../slowness.ts'
import { block, replace } from './builders.ts'
import { isRoot, scratchNetns } from './scratch-netns.ts'

const own = () => readlinkSync('/proc/thread-self/ns/net')
const netns = isRoot ? test : test.skip
if (!isRoot)
  test('sockets and namespaces are tested by root only', t => {
    t.log('skipped: needs root')
    t.pass()
  })

netns('a monitor that lost events says so, and goes on', async t => {
  using scratch = scratchNetns()
  using host = openKernel()
  using kernel = host.inside(scratch.path)
  const events: KernelEvent[] = []
  const marks: Promise<unknown>[] = []
  const heard = Promise.withResolvers<void>()
  const last = block('10.255.255.0/24')
  const listen = (event: KernelEvent) => {
    events.push(event)
    if (event.type === 'route' && event.route.dst === last.dst) heard.resolve()
    if (event.type === 'overrun') marks.push(kernel.changeRoutes([replace(last)]))
  }
  const monitor = runInNetns(scratch.path, () => openMonitor(listen, { receiveBuffer: 1 }))
  await kernel.changeRoutes(Array.from({ length: 1000 }, (_, i) => replace(block(`10.${i >> 8}.${i & 255}.0/24`))))
  await heard.promise
  t.true(events.some(event => event.type === 'overrun'))
  monitor.close()
  await Promise.all(marks)
})

netns('all who listen to one kernel hear each event, until each of them stops', async t => {
  using scratch = scratchNetns()
  using host = openKernel()
  using kernel = host.inside(scratch.path)
  const heard: string[] = []
  const sockets = () => readFileSync('/proc/thread-self/net/netlink', 'utf8').split('\n').length
  const before = runInNetns(scratch.path, sockets)
  const listeners = ['a', 'b'].map(name => {
    let next = Promise.withResolvers<void>()
    const monitor = kernel.monitor(event => {
      if (event.type !== 'route') return
      heard.push(`${name} ${event.route.dst}`)
      next.resolve()
    })
    return {
      monitor,
      hears: async () => {
        await next.promise
        next = Promise.withResolvers<void>()
      },
    }
  })
  const [a, b] = listeners as [(typeof listeners)[0], (typeof listeners)[0]]
  t.is(runInNetns(scratch.path, sockets), before + 1)
  await kernel.changeRoutes([replace(block('10.0.1.0/24'))])
  await Promise.all([a.hears(), b.hears()])
  a.monitor.close()
  await kernel.changeRoutes([replace(block('10.0.2.0/24'))])
  await b.hears()
  t.deepEqual(heard.toSorted(), ['a 10.0.1.0/24', 'b 10.0.1.0/24', 'b 10.0.2.0/24'])
  b.monitor.close()
  t.is(runInNetns(scratch.path, sockets), before)
})

netns('every socket finds its own descriptor, while other threads open and close files', async t => {
  using scratch = scratchNetns()
  let busy = true
  const reading = Array.from({ length: 4 }, async () => {
    while (busy) await readFile('/proc/self/stat')
  })
  using host = openKernel()
  for (let i = 0; i < 200; i++) {
    using kernel = host.inside(scratch.path)
    t.is((await kernel.link('lo'))?.index, 1)
    await new Promise(setImmediate)
  }
  busy = false
  await Promise.all(reading)
})

test('a socket that is bound to an address alone has no port before it connects', t => {
  const fd = openTcp('ipv4')
  bindTcp(fd, '127.0.0.1', 0)
  // sockaddr_in: family u16 | port be16 | address
  t.deepEqual([...socketName(fd)!.subarray(2, 8)], [0, 0, 127, 0, 0, 1])
  closeSocket(fd)
})

netns('a request socket that lost answers fails what was under way, and takes the next request', async t => {
  using scratch = scratchNetns()
  const requests = runInNetns(scratch.path, () => new Requests({ receiveBuffer: 1 }))
  const refused = { ...block('10.0.0.0/24'), type: 'unicast' as const, ifindex: 4711 }
  const request = { type: RTM.newRoute, body: (w: Parameters<typeof emitRoute>[0]) => emitRoute(w, refused) }
  const error = await t.throwsAsync(requests.change(Array(128).fill(request)), { instanceOf: KernelError })
  t.is((error as KernelError).errno, ERRNO.ENOBUFS)
  const [answer] = await requests.change([request])
  t.is(answer?.errno, ERRNO.ENODEV)
  requests.close()
})

netns(
  'a request is answered without a turn of the event loop, and many in a row let others have their turn',
  async t => {
    using scratch = scratchNetns()
    using host = openKernel()
    using kernel = host.inside(scratch.path)
    await new Promise(setImmediate)
    let turns = 0
    setImmediate(() => {
      turns++
    })
    t.is((await kernel.link('lo'))?.name, 'lo')
    t.is(await kernel.link('absent'), undefined)
    t.deepEqual(await kernel.changeRoutes([replace(block('10.0.0.0/24'))]), [undefined])
    t.is(turns, 0)
    for (let i = 0; i < 200; i++) await kernel.link('lo')
    t.is(turns, 1)
  },
)

netns('requests, batches and dumps at the same time each get their own answers', async t => {
  using scratch = scratchNetns()
  using host = openKernel()
  using kernel = host.inside(scratch.path)
  const routes = Array.from({ length: 3000 }, (_, i) => block(`10.${i >> 8}.${i & 255}.0/24`))
  const [answers, links, ...dumps] = await Promise.all([
    kernel.changeRoutes(routes.map(replace)),
    Promise.all(Array.from({ length: 50 }, (_, i) => kernel.link(i % 2 === 0 ? 'lo' : `absent${i}`))),
    ...Array.from({ length: 5 }, () => kernel.routes({ table: 254 })),
  ])
  t.true(answers.every(refusal => refusal === undefined))
  t.deepEqual(
    links.map(link => link?.name),
    Array.from({ length: 50 }, (_, i) => (i % 2 === 0 ? 'lo' : undefined)),
  )
  t.true(dumps.every(dump => new Set(dump.map(route => route.dst)).size === dump.length))
  t.is((await kernel.routes({ table: 254 })).length, 3000)
})

netns('an excursion comes home after a throw, and refuses asynchronous work', t => {
  using scratch = scratchNetns()
  const home = own()
  const away = runInNetns(scratch.path, own)
  t.not(away, home)
  t.is(own(), home)
  t.throws(
    () =>
      runInNetns(scratch.path, () => {
        throw new Error('inside')
      }),
    { message: 'inside' },
  )
  t.is(own(), home)
  t.throws(() => runInNetns(scratch.path, async () => {}), { message: /asynchronous/ })
  t.is(own(), home)
  t.throws(() => runInNetns('/etc/hostname', own), { instanceOf: KernelError })
  t.is(own(), home)
})

netns('a named namespace is one that ip netns sees, programs start in it, and it is removed twice', async t => {
  const name = `mgt-${process.pid}-${Date.now()}`
  addNetns(name)
  try {
    t.true(listNetns().includes(name))
    t.is(t.throws(() => addNetns(name), { instanceOf: KernelError })?.errno, ERRNO.EEXIST)
    t.regex(execFileSync(systemProgram('ip'), ['netns', 'list'], { encoding: 'utf8' }), new RegExp(`^${name}\\b`, 'm'))
    const child = spawnInNetns(netnsPath(name), 'readlink', ['/proc/self/ns/net'])
    const [chunk] = await once(child.stdout!, 'data')
    t.is(String(chunk).trim(), runInNetns(netnsPath(name), own))
  } finally {
    removeNetns(name)
  }
  removeNetns(name)
  t.false(listNetns().includes(name))
})

netns('the file of a namespace whose maker was killed half-way is removed', t => {
  const name = `mgt-${process.pid}-${Date.now()}-half`
  writeFileSync(netnsPath(name), '')
  removeNetns(name)
  t.false(listNetns().includes(name))
})

netns('an echo from a namespace is answered, or the cause is told: no route, no answer, no namespace', async t => {
  using scratch = scratchNetns()
  using host = openKernel()
  using kernel = host.inside(scratch.path)
  const { index } = (await kernel.link('lo'))!
  t.like(await echo(scratch.path, '127.0.0.1', 10), { error: 'sendto 127.0.0.1: ENETUNREACH' })
  await kernel.setLink(index, { up: true })
  const answers = await Promise.all([
    echo(scratch.path, '127.0.0.1', ANSWER_MS),
    echo(scratch.path, '127.0.0.2', ANSWER_MS),
  ])
  for (const answer of answers) t.true('ms' in answer && answer.ms < ANSWER_MS)
  // everything to this host is dropped here without a word
  const drop = { dst: '192.0.2.0/24', table: 254, type: 'local' as const, protocol: 4, scope: 254, ifindex: index }
  kernel.writeSysctl('ipv4', ['icmp_echo_ignore_all'], '1')
  await kernel.changeRoutes([replace(drop)])
  t.deepEqual(await echo(scratch.path, '192.0.2.1', 10), { error: 'no answer in 10 ms' })
  t.regex(String(Object.values(await echo('/run/netns/none', '127.0.0.1', 10))), /open netns .*ENOENT/)
})

netns(
  'while the kernel deletes links the event loop goes on, and those that are deleted together are gone',
  async t => {
    using scratch = scratchNetns()
    using host = openKernel()
    using kernel = host.inside(scratch.path)
    const names = Array.from({ length: 8 }, (_, i) => `link${i}`)
    let turns = 0
    // a kernel without readers, or a machine without a free processor, may leave no time for turns once
    for (let attempt = 0; attempt < 10 && turns < 20; attempt++) {
      for (const name of names) await kernel.createLink({ kind: 'veth', name, peer: { name: `peer-${name}` } })
      const deleted = Promise.all(names.map(name => kernel.deleteLink(name))).then(() => true)
      turns = 0
      while (!(await Promise.race([deleted, new Promise<false>(resolve => setImmediate(resolve, false))]))) turns++
      t.deepEqual(
        (await kernel.links()).map(({ name }) => name),
        ['lo'],
      )
    }
    t.true(turns >= 20, `${turns} turns`)
  },
)

netns('a kernel that is closed while it deletes a link closes its sockets after that', async t => {
  using scratch = scratchNetns()
  using host = openKernel()
  const kernel = host.inside(scratch.path)
  await kernel.createLink({ kind: 'veth', name: 'link', peer: { name: 'peer' } })
  const sockets = () =>
    runInNetns(scratch.path, () => readFileSync('/proc/thread-self/net/netlink', 'utf8').split('\n').length)
  const before = sockets()
  // where the deletion is faster than this test it succeeds
  const deleted = kernel.deleteLink('link').catch((error: unknown) => t.true(error instanceof KernelError))
  while (sockets() === before) await new Promise(setImmediate)
  kernel.close()
  await deleted
  while (sockets() >= before) await new Promise(setImmediate)
  using other = host.inside(scratch.path)
  t.is(await other.link('link'), undefined)
})
