// margay-ipam for containers on the LAN of the host (macvlan, ipvlan), on a kernel in memory.
import test from 'ava'
import { addressesAnswer } from '../../agent/socket/address-answer.ts'
import { checkAddresses } from '../../cni/address-check.ts'
import { collect } from '../../cni/collect.ts'
import { aPool } from '../ipam/world.ts'
import { type Asked, ask, fault, given, isRefused, pods, type Refused } from './another.ts'
import { aHost } from './host.ts'

const LAN = '10.0.0.0/24'
/** Of a container on the LAN of the pool `lanPool`. */
const onLan = (ipam: object = {}, conf: object = {}, id = 'c1'): Asked => ({
  id,
  conf: { name: 'lan', type: 'macvlan', isGateway: undefined, ...conf },
  ipam: { subnet: LAN, gateway: '10.0.0.1', ipv4_pools: ['lan'], ...ipam },
})
const lanPool = (spec: object = {}, cidr = '10.0.0.64/26', name = 'lan', blockSize?: number) =>
  aPool(name, cidr, blockSize, {
    ...{ disableBGPExport: true, assignmentMode: 'Manual', allowedUses: ['Workload'] },
    ...spec,
  })

const REFUSED: readonly (readonly [what: string, ...Refused])[] = [
  ['macvlan without its LAN', onLan({ subnet: undefined }), /ipam\.subnet: undefined/, /CIDR of the LAN/],
  ['a LAN of one address', onLan({ subnet: '10.0.0.1/32' }), /ipam\.subnet: "10/, /CIDR of several/],
  ['two LANs of a family', onLan({ subnet: [LAN, '10.1.0.0/24'] }), /ipam\.subnet/, /one of each family/],
  ['a LAN of the other family', onLan({ subnet: 'fd00::/64' }), /ipam\.subnet: "fd00/, /of ipv4 too/],
  ['a LAN without pools', onLan({ ipv4_pools: [] }), /ipam\.ipv4_pools: \[\]/, /inside ipam\.subnet/],
  ['a router beside the LAN', onLan({ gateway: '10.0.1.1' }), /ipam\.gateway: "10\.0\.1\.1"/, /in ipam\.subnet/],
  ['a router that is no address', onLan({ gateway: LAN }), /ipam\.gateway: "10\.0\.0\.0\/24"/, /an address/],
  [
    'a route without a way',
    onLan({ gateway: undefined, routes: [{ dst: '0.0.0.0/0' }] }),
    /ipam\.gateway: undefined/,
    /route 0\.0\.0\.0\/0 has no gw/,
  ],
  ['ipvlan that is none of the LAN', onLan({}, { type: 'ipvlan', mode: 'l3' }), /mode: "l3"/, /l2: else nobody/],
]
for (const [what, ...refused] of REFUSED)
  test(`${what} is refused with what to do, holds nothing, and no DEL is held back by it`, isRefused, ...refused)

for (const [what, pool, details] of [
  ['of another range', lanPool({}, '10.0.1.0/26'), /correct ipam\.subnet/],
  ['larger than the LAN', lanPool({}, '10.0.0.0/23'), /correct ipam\.subnet/],
  ['with the router', lanPool({}, '10.0.0.0/26'), /no other machine/],
  ['that is announced', lanPool({ disableBGPExport: false }), /disableBGPExport/],
  ['of tunnels between nodes', lanPool({ vxlanMode: 'CrossSubnet' }), /ipipMode and vxlanMode to Never/],
  ['of any pod', lanPool({ assignmentMode: 'Automatic' }), /assignmentMode/],
  ['of tunnels', lanPool({ allowedUses: undefined }), /allowedUses/],
] as const)
  test(`macvlan gets no address of a pool ${what}, and is told what to do`, async t => {
    const host = await aHost(undefined, undefined, undefined, { pools: [aPool('p', '10.9.0.0/24'), pool] })
    const told = await fault(host, 'ADD', onLan())
    t.is(told.code, 100)
    t.regex(told.msg, /^IPPool lan is none for containers on a LAN: /)
    t.regex(told.details, details)
    t.deepEqual(pods(host), [])
  })

for (const type of ['macvlan', 'ipvlan'])
  test(`${type} has addresses of both families with the length and the router of the LAN, and no gateway is reserved`, async t => {
    const host = await aHost(undefined, undefined, undefined, {
      pools: [aPool('p', '10.9.0.0/24'), lanPool(), lanPool({}, 'fd00::1:0/112', 'six')],
    })
    const six = { subnet: [LAN, 'fd00::/64'], gateway: ['fd00::1', '10.0.0.1'], ipv6_pools: ['six'], assign_ipv6: true }
    const routes = [{ dst: '0.0.0.0/0' }, { dst: '::/0' }]
    const asked = onLan({ ...six, routes }, { type })
    const result = await given(host, asked)
    t.deepEqual(result.routes, routes)
    const [v4, v6] = result.ips
    t.regex(v4.address, /^10\.0\.0\.\d+\/24$/)
    t.regex(v6.address, /^fd00::1:[0-9a-f]+\/64$/)
    t.deepEqual([v4.gateway, v6.gateway], ['10.0.0.1', 'fd00::1'])
    t.deepEqual(await given(host, asked), result)
    t.deepEqual([...host.allocator.held().keys()], ['ipam/lan.c1.eth0'])
    t.is((await ask(host, 'CHECK', { ...asked, conf: { ...asked.conf, prevResult: result } })).exitCode, 0)
    // one that is alone on its LAN
    const { ips } = await given(host, onLan({ gateway: undefined }, { type }, 'c2'))
    t.is(ips[0].gateway, undefined)
  })

test('containers of a LAN have neither its first address nor its broadcast, which nobody can name either', async t => {
  const host = await aHost(undefined, undefined, undefined, {
    pools: [aPool('p', '10.9.0.0/24'), lanPool({}, '10.0.0.0/29', 'low', 29), lanPool({}, '10.0.0.248/29', 'lan', 29)],
  })
  const router = { gateway: '10.0.0.9' }
  const addresses: string[] = []
  for (let i = 0; i < 7; i++) addresses.push((await given(host, onLan(router, {}, `c${i}`))).ips[0].address)
  t.deepEqual(
    addresses.toSorted(),
    Array.from({ length: 7 }, (_, i) => `10.0.0.${248 + i}/24`),
  )
  t.like(await fault(host, 'ADD', onLan(router, {}, 'full')), { code: 100 })
  const named = (ip: string, pool: string) =>
    fault(host, 'ADD', { ...onLan({ ...router, ipv4_pools: [pool] }, {}, 'named'), args: `IP=${ip}` })
  for (const [ip, pool] of [
    ['10.0.0.255', 'lan'],
    ['10.0.0.0', 'low'],
  ] as const)
    t.regex((await named(ip, pool)).msg, /is the first of the LAN, or its broadcast/)
})

test('DEL, GC and a boot free what containers of a LAN have; a start of the agent and ipam check leave it and find nothing', async t => {
  const host = await aHost(undefined, undefined, undefined, { pools: [aPool('p', '10.9.0.0/24'), lanPool()] })
  for (const id of ['c1', 'c2', 'c3'])
    await given(host, { ...onLan({}, {}, id), args: 'K8S_POD_NAMESPACE=a;K8S_POD_NAME=b' })
  t.deepEqual(await collect(host.deps), [])
  t.deepEqual((await checkAddresses(host.deps)).findings, [])
  const answer = await addressesAnswer(host.deps, host.allocator)
  t.deepEqual(
    answer.addresses.map(({ use, owner }) => `${use} ${owner}`),
    ['pod a/b', 'pod a/b', 'pod a/b'],
  )
  t.is((await ask(host, 'DEL', onLan())).exitCode, 0)
  host.clock.advance(61_000)
  const valid = { 'cni.dev/valid-attachments': [{ containerID: 'c2', ifname: 'eth0' }] }
  t.is((await ask(host, 'GC', onLan({}, valid))).exitCode, 0)
  t.deepEqual(pods(host), ['ipam/lan.c2.eth0'])
  await collect({ ...host.deps, bootId: 'another' })
  t.deepEqual(pods(host), [])
})

test('a container whose LAN is another one at its second ADD is told to be deleted', async t => {
  const host = await aHost(undefined, undefined, undefined, { pools: [aPool('p', '10.9.0.0/24'), lanPool()] })
  await given(host, onLan())
  const told = await fault(host, 'ADD', onLan({ subnet: '10.2.0.0/24', gateway: '10.2.0.1' }))
  t.regex(told.msg, /which is not in ipam\.subnet, 10\.2\.0\.0\/24/)
  t.deepEqual(pods(host), ['ipam/lan.c1.eth0'])
})
