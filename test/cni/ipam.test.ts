// margay-ipam: what the agent answers to plugins that ask it for addresses, on a kernel in memory.
import test from 'ava'
import { addressesAnswer } from '../../agent/socket/address-answer.ts'
import { checkAddresses } from '../../cni/address-check.ts'
import { collect } from '../../cni/collect.ts'
import { handleCni } from '../../cni/handle.ts'
import { CNI_VERSIONS } from '../../cni/result.ts'
import { aPool } from '../ipam/world.ts'
import { ask, fault, given, isRefused, pods, type Refused } from './another.ts'
import { added, aHost } from './host.ts'

test('the result has addresses with the length of their block and its gateway, routes and dns as configured, and no interfaces', async t => {
  const host = await aHost(undefined, undefined, undefined, {
    pools: [aPool('p', '10.0.0.0/24'), aPool('q', 'fd00::/112')],
  })
  const routes = [{ dst: '0.0.0.0/0' }, { dst: '10.9.0.0/16', gw: '10.0.0.1', mtu: 1400, table: 7 }]
  const ipam = { assign_ipv6: true, routes }
  const result = await given(host, { ipam, conf: { dns: { nameservers: ['10.0.0.10'] } } })
  t.deepEqual(Object.keys(result).sort(), ['cniVersion', 'dns', 'ips', 'routes'])
  t.deepEqual([result.routes, result.dns], [routes, { nameservers: ['10.0.0.10'] }])
  const [v4, v6] = result.ips
  t.regex(v4.address, /^10\.0\.0\.\d+\/26$/)
  t.regex(v6.address, /^fd00::[0-9a-f:]+\/122$/)
  t.deepEqual(await given(host, { ipam, conf: { dns: { nameservers: ['10.0.0.10'] } } }), result)
})

for (const cniVersion of CNI_VERSIONS)
  test(`cniVersion ${cniVersion}: the result is in the format of that version, without numbers of routes before 1.1.0`, async t => {
    const host = await aHost()
    const result = await given(host, { conf: { cniVersion }, ipam: { routes: [{ dst: '0.0.0.0/0', priority: 5 }] } })
    t.is(result.cniVersion, cniVersion)
    const isOld = ['0.1.0', '0.2.0'].includes(cniVersion)
    const routes = isOld ? result.ip4.routes : result.routes
    t.deepEqual(routes, [{ dst: '0.0.0.0/0', ...(cniVersion === '1.1.0' && { priority: 5 }) }])
    t.regex(isOld ? result.ip4.ip : result.ips[0].address, /\/26$/)
    t.truthy(isOld ? result.ip4.gateway : result.ips[0].gateway)
    t.is(result.ips?.[0].version, /^0\.[34]/.test(cniVersion) ? '4' : undefined)
  })

const REFUSED: readonly (readonly [what: string, ...Refused])[] = [
  ['a bridge without gateway', { conf: { isGateway: false } }, /isGateway: false/, /no way to its containers/],
  ['a plugin of which nothing is known', { conf: { type: 'tap' } }, /type: "tap"/, /one of bridge, ptp/],
  ['no type', { conf: { type: undefined } }, /type: ""/, /one of bridge, ptp/],
  ['a subnet of a bridge’s own', { ipam: { subnet: '10.0.0.0/24' } }, /ipam\.subnet/, /make an IPPool/],
  ['a gateway of a bridge’s own', { ipam: { gateway: '10.0.0.1' } }, /ipam\.gateway/, /gateway of their own/],
  ['routes that are none', { ipam: { routes: [{ dst: 'x' }] } }, /ipam\.routes: \{"dst":"x"\}/, /CIDR as dst/],
  ['a gateway that is none', { ipam: { routes: [{ dst: '10.0.0.0/8', gw: 'x' }] } }, /ipam\.routes/, /address as gw/],
  [
    'ranges of the runtime',
    { conf: { runtimeConfig: { ipRanges: [[{ subnet: '10.1.0.0/24' }]] } } },
    /ipRanges/,
    /IPPools/,
  ],
  ['no family', { ipam: { assign_ipv4: false } }, /assign_ipv4/, /assign_ipv6 must be/],
]
for (const [what, ...refused] of REFUSED)
  test(`${what} is refused with what to do, holds nothing, and no DEL is held back by it`, isRefused, ...refused)

test('a MAC and ports that the runtime asks of the other plugin are its own affair; addresses by any way are ours', async t => {
  const host = await aHost()
  const runtimeConfig = { mac: '02:00:00:00:00:01', portMappings: [{ hostPort: 80, containerPort: 80 }] }
  t.regex((await given(host, { args: 'IP=10.0.0.77', conf: { runtimeConfig } })).ips[0].address, /^10\.0\.0\.77\/26$/)
  const asked = { id: 'c2', conf: { runtimeConfig: { ips: ['10.0.0.78/24'] } } }
  t.regex((await given(host, asked)).ips[0].address, /^10\.0\.0\.78\/26$/)
  t.like(await fault(host, 'ADD', { id: 'c3', args: 'IP=10.0.0.200' }), { code: 100 })
})

test('annotations of the Pod hold for the first interface of the container, whichever plugin made it', async t => {
  const host = await aHost()
  Object.assign(host.deps, {
    annotations: async () => ({ pod: { 'cni.projectcalico.org/ipAddrs': '["10.0.0.99"]' }, namespace: {} }),
  })
  const args = 'K8S_POD_NAMESPACE=a;K8S_POD_NAME=b'
  t.regex((await given(host, { args })).ips[0].address, /^10\.0\.0\.99\//)
  t.notRegex((await given(host, { args, ifname: 'net1' })).ips[0].address, /^10\.0\.0\.99\//)
  t.regex((await given(host, { args })).ips[0].address, /^10\.0\.0\.99\//)
  // that of ours, after one of another plugin
  host.world.addNetns('/run/netns/pod')
  const env = {
    CNI_COMMAND: 'ADD',
    CNI_CONTAINERID: 'c1',
    CNI_NETNS: '/run/netns/pod',
    CNI_IFNAME: 'net2',
    CNI_ARGS: args,
  }
  const own = await handleCni({ env, stdin: '{"cniVersion":"1.0.0","name":"net"}' }, host.deps)
  t.is(own.exitCode, 0, own.stdout)
  t.notRegex(JSON.parse(own.stdout).ips[0].address, /^10\.0\.0\.99\//)
})

test('an interface of ours and one of another plugin with the same network, container and name have an address each', async t => {
  const host = await aHost()
  const own = await added(host, 'c1', '/run/netns/pod', { name: 'br' })
  const other = await given(host)
  t.not(own.ips[0]!.address.split('/')[0], other.ips[0].address.split('/')[0])
  t.is((await ask(host, 'DEL')).exitCode, 0)
  t.deepEqual(pods(host), ['br.c1.eth0'])
})

test('an ADD whose agent was killed before it answered has the same addresses from the next one, which DEL frees', async t => {
  const host = await aHost()
  const result = await given(host)
  await host.close() // what is in memory alone is gone
  const next = await aHost(host.db, host.world, undefined, { pools: [], takesOver: true })
  t.deepEqual((await given(next)).ips, result.ips)
  t.is((await ask(next, 'DEL')).exitCode, 0)
  t.deepEqual(pods(next), [])
  await next.close()
})

for (const family of ['ipv4', 'ipv6'] as const)
  test(`ADD again, when the host has a route to the ${family} address, is refused, and the address stays until DEL`, async t => {
    const pools = [aPool('p', '10.0.0.0/24'), aPool('q', 'fd00::/112')]
    const host = await aHost(undefined, undefined, undefined, { pools })
    const asked = { conf: { name: 'p2p', type: 'ptp' }, ipam: { assign_ipv6: true } }
    const { ips } = await given(host, asked)
    const kernel = host.world.kernel()
    const { index: ifindex } = await kernel.createLink({ kind: 'veth', name: 'veth0', peer: { name: 'veth1' } })
    await kernel.setLink(ifindex, { up: true })
    const dst = ips[family === 'ipv4' ? 0 : 1].address.replace(/\/.*/, family === 'ipv4' ? '/32' : '/128')
    const route = { dst, table: 254, type: 'unicast', protocol: 3, scope: 253, ifindex } as const
    t.deepEqual(await kernel.changeRoutes([{ verb: 'add', route }]), [undefined])
    const told = await fault(host, 'ADD', asked)
    t.is(told.code, 4)
    t.regex(told.msg, /^CNI_IFNAME eth0 of container c1 is there already, with /)
    const holds = () => host.allocator.held().has('ipam/p2p.c1.eth0')
    t.true(holds())
    t.is((await ask(host, 'DEL', asked)).exitCode, 0)
    t.false(holds())
  })

test('ADD for a container of an earlier boot, of which no DEL came, gives addresses that a start of the agent leaves', async t => {
  const host = await aHost()
  await given(host)
  Object.assign(host.deps, { bootId: 'another' })
  const { ips } = await given(host)
  await collect(host.deps)
  t.is(host.allocator.held().get('ipam/br.c1.eth0')?.[0]?.address, ips[0].address.split('/')[0])
})

test('DEL frees the addresses, twice as well, and without the pod that ADD named', async t => {
  const host = await aHost()
  await given(host, { args: 'K8S_POD_NAMESPACE=a;K8S_POD_NAME=b' })
  for (let i = 0; i < 2; i++) t.deepEqual(await ask(host, 'DEL'), { exitCode: 0, stdout: '' })
  t.deepEqual(pods(host), [])
})

test('CHECK is fine with the result of ADD, and names an address that is not reserved or is another one', async t => {
  const host = await aHost()
  const prevResult = await given(host)
  t.deepEqual(await ask(host, 'CHECK', { conf: { prevResult } }), { exitCode: 0, stdout: '' })
  const other = { ...prevResult, ips: [{ address: '10.0.0.201/26' }] }
  const told = await fault(host, 'CHECK', { conf: { prevResult: other } })
  t.like(told, { code: 102 })
  t.regex(told.msg, /^prevResult does not have 10\.0\.0\./)
  await ask(host, 'DEL')
  t.regex(
    (await fault(host, 'CHECK', { conf: { prevResult } })).msg,
    /^no address is reserved for interface eth0 of container c1/,
  )
})

test('GC frees what the runtime does not list, not in the first minute, and no other network’s', async t => {
  const host = await aHost()
  await given(host)
  await given(host, { id: 'c2' })
  await given(host, { id: 'c3', conf: { name: 'p2p', type: 'ptp' } })
  await added(host, 'c4')
  const valid = { 'cni.dev/valid-attachments': [{ containerID: 'c2', ifname: 'eth0' }] }
  t.is((await ask(host, 'GC', { conf: valid })).exitCode, 0)
  t.is(pods(host).length, 4)
  host.clock.advance(61_000)
  t.is((await ask(host, 'GC', { conf: valid })).exitCode, 0)
  t.deepEqual(pods(host).sort(), ['ipam/br.c2.eth0', 'ipam/p2p.c3.eth0', 'net.c4.eth0'])
  // a GC of ours leaves those of others, with the same name too
  host.clock.advance(61_000)
  const env = { CNI_COMMAND: 'GC', CNI_PATH: '/' }
  const stdin = JSON.stringify({ cniVersion: '1.1.0', name: 'br', 'cni.dev/valid-attachments': [] })
  t.is((await handleCni({ env, stdin }, host.deps)).exitCode, 0)
  t.deepEqual(pods(host).sort(), ['ipam/br.c2.eth0', 'ipam/p2p.c3.eth0', 'net.c4.eth0'])
})

test('a start of the agent leaves what other plugins’ pods have, and the first one after a boot frees it', async t => {
  const host = await aHost()
  await given(host)
  await added(host, 'c2')
  await collect(host.deps)
  t.deepEqual(pods(host).sort(), ['ipam/br.c1.eth0', 'net.c2.eth0'])
  await collect({ ...host.deps, bootId: 'another' })
  t.deepEqual(pods(host), ['net.c2.eth0'])
})

test('a gateway goes with a start or GC when no pod has an address of its block and no interface of the host has it', async t => {
  const host = await aHost()
  const { ips } = await given(host)
  const gateway = () => [...host.allocator.held().keys()].filter(handle => handle.startsWith('ipam/br/'))
  await collect(host.deps)
  t.is(gateway().length, 1)
  const { kernel } = host.deps
  await host.world.kernel().createLink({ kind: 'veth', name: 'br0', peer: { name: 'br1' } })
  const { index: ifindex } = (await kernel.link('br0'))!
  const address = { ifindex, address: ips[0].gateway, length: 26, scope: 0 }
  await host.world.kernel().addAddress(address)
  await ask(host, 'DEL')
  await collect(host.deps)
  t.is(gateway().length, 1)
  await host.world.kernel().deleteAddress(address)
  await collect(host.deps)
  t.deepEqual(gateway(), [])
})

test('ipam check counts the addresses as those of their pods, and names a block whose gateway is gone', async t => {
  const host = await aHost()
  const { ips } = await given(host, { args: 'K8S_POD_NAMESPACE=a;K8S_POD_NAME=b' })
  const address = ips[0].address.split('/')[0]
  const answer = await addressesAnswer(host.deps, host.allocator)
  t.deepEqual(answer.findings, [])
  t.like(
    answer.addresses.find(each => each.address === address),
    { use: 'pod', owner: 'a/b' },
  )
  const [gateway] = [...host.allocator.held().keys()].filter(handle => handle.startsWith('ipam/br/'))
  await host.allocator.release(gateway!)
  const { findings } = await checkAddresses(host.deps)
  t.like(findings, { length: 1, 0: { addresses: [address] } })
  t.regex(findings[0]!.fault, /is that of pod a\/b, and nobody has the gateway of its block/)
  t.like(await fault(host, 'ADD', { args: 'K8S_POD_NAMESPACE=a;K8S_POD_NAME=b' }), { code: 100 })
})

test('an ADD that waits for a block ends with the DEL of its container, and one of an agent that is not ready is told to come again', async t => {
  const host = await aHost()
  Object.assign(host.deps, { ready: () => ({ code: 11, msg: 'not yet', details: 'wait' }) })
  t.like(await fault(host, 'ADD'), { code: 11, msg: 'not yet' })
  t.deepEqual(pods(host), [])
  Object.assign(host.deps, { ready: () => undefined })
  const assignNow = { awaits: () => new Promise<undefined>(() => undefined) }
  Object.assign(host.deps, {
    ipam: new Proxy(host.allocator, {
      get: (of, key) =>
        key === 'assignNow' ? () => assignNow : (Reflect.get(of, key).bind?.(of) ?? Reflect.get(of, key)),
    }),
  })
  const waiting = fault(host, 'ADD')
  for (let turn = 0; turn < 10; turn++) await new Promise(resolve => setImmediate(resolve))
  t.is((await ask(host, 'DEL')).exitCode, 0)
  t.like(await waiting, { code: 11 })
})
