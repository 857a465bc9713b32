// The verbs over the kernel in memory: what needs no root, and what a real kernel cannot be made to do.
import test from 'ava'
import { collect } from '../../cni/collect.ts'
import type { CniDeps } from '../../cni/deps.ts'
import type { EndpointChange } from '../../cni/endpoints.ts'
import { handleCni } from '../../cni/handle.ts'
import { tunnelRequest } from '../../ipam/tunnel.ts'
import { ERRNO, KernelError } from '../../kernel/port/error.ts'
import { ManualClock } from '../../lib/clock.ts'
import { openDatabase } from '../../lib/database.ts'
import { added, aHost, call, POD } from './host.ts'
import { NOTHING, remains, withLinks } from './sound.ts'

test('CHECK finds no mismatch after ADD, and DEL leaves nothing', async t => {
  const host = await aHost()
  const result = await added(host)
  t.is((await call(host, 'CHECK', { conf: { prevResult: result } })).stdout, '')
  t.deepEqual(await call(host, 'DEL'), { exitCode: 0, stdout: '' })
  t.deepEqual(await remains(host), NOTHING)
})

test('ADD and DEL in one network leave what another network made for the same container and interface', async t => {
  const host = await aHost()
  await added(host)
  const before = await remains(host)
  const other = { conf: { name: 'other' } }
  t.like(JSON.parse((await call(host, 'ADD', other)).stdout), { code: 4 }, 'the interface is there already')
  t.deepEqual(await call(host, 'DEL', other), { exitCode: 0, stdout: '' })
  t.deepEqual(await remains(host), before)
  t.is((await call(host, 'CHECK', { conf: { name: 'other', prevResult: {} } })).exitCode, 1)
})

test('two networks may have one container and interface name in two namespaces, each with its own address and link', async t => {
  const host = await aHost()
  await added(host)
  await added(host, 'c1', '/run/netns/again', { name: 'other' })
  t.is((await host.deps.kernel.links()).filter(({ name }) => name.startsWith('cali')).length, 2)
  t.is((await call(host, 'DEL', { conf: { name: 'other' } })).exitCode, 0)
  t.deepEqual([...host.deps.ipam.held().keys()], ['net.c1.eth0'])
  t.is((await host.deps.kernel.links()).filter(({ name }) => name.startsWith('cali')).length, 1)
})

test('attachments whose names have their dots at other places have each an address of their own, which DEL of one leaves', async t => {
  const host = await aHost()
  const first = await added(host, 'b.c', '/run/netns/first', { name: 'a' })
  const second = await added(host, 'c', '/run/netns/second', { name: 'a.b' })
  t.not(first.ips[0]!.address, second.ips[0]!.address)
  t.deepEqual([...host.deps.ipam.held().keys()], ['a.b%2ec.eth0', 'a.b.c.eth0'])
  t.is((await call(host, 'DEL', { id: 'c', conf: { name: 'a.b' } })).exitCode, 0)
  t.deepEqual([...host.deps.ipam.held().keys()], ['a.b%2ec.eth0'])
})

test('a pod whose name gives the interface name of another pod gets a name of its own, and the other one keeps its network', async t => {
  const host = await aHost()
  const add = async (id: string, name: string) => {
    host.world.addNetns(`/run/netns/${id}`)
    const env = { CNI_COMMAND: 'ADD', CNI_CONTAINERID: id, CNI_NETNS: `/run/netns/${id}`, CNI_IFNAME: 'eth0' }
    const CNI_ARGS = `K8S_POD_NAMESPACE=default;K8S_POD_NAME=${name}`
    return (await handleCni({ env: { ...env, CNI_ARGS }, stdin: '{"cniVersion":"1.0.0","name":"net"}' }, host.deps))
      .exitCode
  }
  const names = () => host.deps.endpoints.all().map(({ interfaceName }) => interfaceName)
  // found by trying seven million names: the first 44 bits of SHA-1 are the same
  t.is(await add('c1', 'p1p36e'), 0)
  t.is(await add('c2', 'p353xm'), 0)
  t.is(names()[0], 'calie4084516d68')
  t.is(new Set(names()).size, 2)
  t.is(host.deps.ipam.held().size, 2)
  // a later sandbox of the same pod takes the place of the earlier one as before
  t.is(await add('c3', 'p1p36e'), 0)
  t.deepEqual([...host.deps.ipam.held().keys()].sort(), ['net.c2.eth0', 'net.c3.eth0'])
})

test('a row that an earlier version wrote without the network in its id is found, and goes from the disk with DEL', async t => {
  const host = await aHost()
  await added(host)
  host.db.exec(`UPDATE cni_endpoints SET id = 'c1/eth0', endpoint = json_set(endpoint, '$.id', 'c1/eth0')`)
  const again = await aHost(host.db, host.world)
  t.deepEqual(
    again.deps.endpoints.all().map(({ id }) => id),
    ['net/c1/eth0'],
  )
  t.is((await call(again, 'DEL')).exitCode, 0)
  t.deepEqual(host.db.prepare('SELECT id FROM cni_endpoints').all(), [])
})

test('listeners are told of an interface when its links exist, and of its end before they are deleted', async t => {
  const host = await aHost()
  const heard: string[] = []
  host.deps.endpoints.onChange(async ({ type, endpoint }: EndpointChange) => {
    heard.push(type)
    t.truthy(await host.deps.kernel.link(endpoint.interfaceName))
  })
  await added(host)
  await call(host, 'DEL')
  t.deepEqual(heard, ['set', 'gone'])
})

test('the result is appended to the result of the plugins before', async t => {
  const host = await aHost()
  host.world.addNetns(POD)
  const prevResult = {
    interfaces: [{ name: 'x' }],
    ips: [{ address: '1.2.3.4/24', interface: 0 }],
    routes: [],
    dns: { a: 1 },
  }
  const { stdout } = await call(host, 'ADD', { conf: { prevResult } })
  const { interfaces, ips, dns } = JSON.parse(stdout)
  t.deepEqual([interfaces.length, ips.length, ips[1].interface, dns], [3, 2, 2, { a: 1 }])
})

test('after a reboot the rows and addresses of pods that are gone are collected, tunnels and living pods stay', async t => {
  const host = await aHost()
  await added(host, 'dead')
  await added(host, 'alive', '/run/netns/alive')
  await host.deps.ipam.assign(tunnelRequest('vxlan', 'n1'))
  host.world.removeNetns(POD)
  await host.deps.ipam.assign({
    handle: 'net.cut.eth0',
    attributes: { node: 'n1', containerID: 'cut' },
    families: ['ipv4'],
    use: 'Workload',
  })
  const again = await aHost(host.db, host.world)
  t.deepEqual([...(await collect(again.deps))].sort(), ['net.cut.eth0', 'net/dead/eth0'])
  t.deepEqual([...again.deps.ipam.held().keys()].sort(), ['net.alive.eth0', 'vxlan-tunnel-addr-n1'])
})

test('an address that is routed to an interface is never collected, even when its row was lost', async t => {
  const host = await aHost()
  await added(host)
  host.db.exec('DELETE FROM cni_endpoints')
  const again = await aHost(host.db, host.world)
  t.deepEqual(await collect(again.deps), [])
  t.is(again.deps.ipam.held().size, 1)
})

test('a collection does not release the address of an ADD that is running', async t => {
  const host = await aHost()
  host.world.addNetns(POD)
  const { ipam } = host.deps
  const { promise, resolve } = Promise.withResolvers<void>()
  const { kernel } = host.deps
  const createLink: typeof kernel.createLink = async spec => {
    await promise
    return kernel.createLink(spec)
  }
  const slow: CniDeps = { ...host.deps, kernel: withLinks(kernel, createLink) }
  const adding = call({ ...host, deps: slow }, 'ADD')
  while (ipam.held().size === 0) await new Promise(setImmediate)
  t.deepEqual(await collect(host.deps), [])
  resolve()
  t.is((await adding).exitCode, 0)
})

test('an ADD whose host side is refused fails with the cause, and leaves nothing behind', async t => {
  const host = await aHost()
  host.world.addNetns(POD)
  const applied = async () => {
    throw new Error('route 10.0.0.1/32: EPERM')
  }
  const deps = { ...host.deps, hostSide: { ...host.deps.hostSide, applied } }
  const { exitCode, stdout } = await call({ ...host, deps }, 'ADD')
  t.is(exitCode, 1)
  t.like(JSON.parse(stdout), { code: 101 })
  t.regex(JSON.parse(stdout).msg, /host side of cali\w+ is refused: route 10\.0\.0\.1\/32: EPERM/)
  t.deepEqual(await remains(host), NOTHING)
})

test('an ADD whose host side is never written fails with code 11 after ten seconds, and leaves nothing behind', async t => {
  const host = await aHost()
  host.world.addNetns(POD)
  const hostSide = { ...host.deps.hostSide, applied: () => new Promise<void>(() => {}) }
  const clock = new ManualClock()
  const adding = call({ ...host, deps: { ...host.deps, hostSide, clock } }, 'ADD')
  while (clock.pending === 0) await new Promise(setImmediate)
  clock.advance(9_999)
  t.is(
    await Promise.race([adding.then(() => 'answered'), new Promise(resolve => setImmediate(resolve, 'waits'))]),
    'waits',
  )
  clock.advance(1)
  t.like(JSON.parse((await adding).stdout), { code: 11 })
  t.deepEqual(await remains(host), NOTHING)
})

test('an ADD that is repeated, after a crash between its interface and its policies, ends as late as the first: what felix refuses is its error, and the interface stays for DEL', async t => {
  const host = await aHost()
  const first = await added(host)
  const inKernel = Promise.withResolvers<void>()
  const asked: (string | undefined)[] = []
  const applied = (id?: string) => {
    asked.push(id)
    return inKernel.promise
  }
  const waiting = { ...host, deps: { ...host.deps, hostSide: { ...host.deps.hostSide, applied } } }
  const again = call(waiting, 'ADD')
  while (asked.length === 0) await new Promise(setImmediate)
  t.deepEqual(asked, ['net/c1/eth0'])
  t.is(await Promise.race([again, new Promise(resolve => setImmediate(resolve, 'waits'))]), 'waits')
  inKernel.resolve()
  t.deepEqual(JSON.parse((await again).stdout), first)
  const refused = async () => {
    throw new Error('the API server has told nothing of Pod default/p1 yet')
  }
  const deps = { ...host.deps, hostSide: { ...host.deps.hostSide, applied: refused } }
  const { exitCode, stdout } = await call({ ...host, deps }, 'ADD')
  t.is(exitCode, 1)
  t.regex(JSON.parse(stdout).msg, /host side of cali\w+ is refused: the API server has told nothing of Pod/)
  t.regex(JSON.parse(stdout).details, /^it is as an earlier ADD left it/)
  t.is(host.deps.endpoints.all().length, 1)
})

test('a full disk is code 5, and nothing stays behind', async t => {
  const host = await aHost()
  host.world.addNetns(POD)
  host.db.exec('PRAGMA query_only = ON')
  const { exitCode, stdout } = await call(host, 'ADD')
  t.is(exitCode, 1)
  t.like(JSON.parse(stdout), { code: 5 })
  host.db.exec('PRAGMA query_only = OFF')
  t.deepEqual(await remains(host), NOTHING)
})

test('with a full disk DEL works, its address is free, and the journal is right as soon as it can be written', async t => {
  const host = await aHost()
  await added(host)
  await added(host, 'stays', '/run/netns/stays')
  host.db.exec('PRAGMA query_only = ON')
  t.deepEqual(await call(host, 'DEL'), { exitCode: 0, stdout: '' })
  t.deepEqual([...host.deps.ipam.held().keys()], ['net.stays.eth0'])
  t.deepEqual(
    host.deps.endpoints.all().map(({ id }) => id),
    ['net/stays/eth0'],
  )
  t.is((await host.world.kernel().links()).filter(({ name }) => name.startsWith('cali')).length, 1)
  host.db.exec('PRAGMA query_only = OFF')
  const journal = (): unknown[] => [
    ...host.db
      .prepare('SELECT id FROM cni_endpoints ORDER BY id')
      .all()
      .map(({ id }) => id),
    ...host.db
      .prepare('SELECT handle FROM ipam_slots ORDER BY handle')
      .all()
      .map(({ handle }) => handle),
  ]
  t.is(journal().length, 4, 'not yet')
  await added(host, 'next', '/run/netns/next')
  t.deepEqual(journal(), ['net/next/eth0', 'net/stays/eth0', 'net.next.eth0', 'net.stays.eth0'])
})

test('after a crash with a full disk the pods that were deleted meanwhile are collected', async t => {
  const host = await aHost()
  await added(host)
  host.db.exec('PRAGMA query_only = ON')
  t.is((await call(host, 'DEL')).exitCode, 0)
  host.db.exec('PRAGMA query_only = OFF')
  const again = await aHost(host.db, host.world)
  t.is(again.deps.endpoints.all().length, 1)
  await collect(again.deps)
  t.deepEqual(await remains(again), NOTHING)
})

test('without a file descriptor left ADD is code 11, which passes, and not a fault of the namespace', async t => {
  const host = await aHost()
  host.world.addNetns(POD)
  const inside = () => {
    throw new KernelError(ERRNO.EMFILE, 'open netns', POD)
  }
  const kernel = withLinks(Object.assign(host.world.kernel(), { inside }), () => Promise.reject(new Error('not asked')))
  const { stdout } = await call({ ...host, deps: { ...host.deps, kernel } }, 'ADD')
  t.like(JSON.parse(stdout), { code: 11 })
  t.deepEqual(await remains(host), NOTHING)
})

test('VERSION answers with the version of the request', async t => {
  const host = await aHost()
  const { stdout } = await call(host, 'VERSION', { conf: { cniVersion: '0.4.0' } })
  t.deepEqual(JSON.parse(stdout), {
    cniVersion: '0.4.0',
    supportedVersions: ['0.1.0', '0.2.0', '0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'],
  })
})

test('ADD is one write to the disk, and so is DEL', async t => {
  const db = openDatabase(':memory:')
  let commits = 0
  const counted = new Proxy(db, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name, target)
      if (name === 'exec')
        return (sql: string) => {
          if (sql === 'COMMIT') commits++
          target.exec(sql)
        }
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
  const host = await aHost(counted)
  commits = 0
  await added(host)
  t.is(commits, 1)
  await call(host, 'DEL')
  t.is(commits, 2)
})
