// Which packets get another source address on their way out of the pools, as tables of nftables; and when felix writes them.
import test from 'ava'
import fc from 'fast-check'
import { Calculator } from '../../felix/calc/calculator.ts'
import { poolRanges } from '../../felix/calc/pool-ranges.ts'
import type { NatSettings, Pool } from '../../felix/input.ts'
import { commandText } from '../../kernel/netlink/nftables/command-text.ts'
import type { NftProgram } from '../../kernel/reconcile/objects.ts'
import { contains, formatCidr, parseCidr } from '../../lib/ip.ts'
import { CALCULATOR, calculated, EMPTY, FULL, IPIP_POOL, N2, N3, tell, type World } from './worlds.ts'

const pool = (cidr: string, more: Partial<Pool> = {}): Pool => {
  return { cidr, ipip: 'Never', vxlan: 'Never', isExchanged: true, ...more }
}
const out = { natOutgoing: true } as const
const nat = (settings: Partial<NatSettings>): Partial<World> => {
  return { config: { ...EMPTY.config, nat: { keepAddressTo: 'pools', bgpPorts: [179], ...settings } } }
}
const tableOf = (world: Partial<World>, family: 'ip' | 'ip6' = 'ip'): NftProgram =>
  calculated({ ...EMPTY, ...world })
    .wanted()
    .nftTable.get(`${family} margay`)!
const rulesOf = ({ rules }: NftProgram) =>
  rules.map(object => commandText({ verb: 'add', object }, () => undefined).replace(/^add rule ip6? margay /, ''))
const contentsOf = ({ contents = [] }: NftProgram) =>
  Object.fromEntries(contents.map(({ set, elements }) => [set, elements.map(({ key }) => key.join(' '))]))

test('what leaves a pool with natOutgoing to no pool is masqueraded with random ports, in both families', t => {
  const pools = [pool('10.244.0.0/16', out), pool('10.246.0.0/16'), pool('fd00:1::/64', out)]
  t.deepEqual(rulesOf(tableOf({ pools })), [
    'outgoing tcp dport @bgp_ports return comment "no pod speaks BGP as its node"',
    'outgoing masquerade fully-random comment "natOutgoing"',
    'postrouting ip saddr @masqueraded ip daddr != @pools jump outgoing comment "out of the pools"',
  ])
  t.deepEqual(contentsOf(tableOf({ pools })), {
    pools: ['10.244.0.0/16', '10.246.0.0/16'],
    masqueraded: ['10.244.0.0/16'],
    bgp_ports: ['179'],
  })
  t.deepEqual(rulesOf(tableOf({ pools }, 'ip6')).at(-1), rulesOf(tableOf({ pools })).at(-1)?.replaceAll('ip ', 'ip6 '))
  t.deepEqual(contentsOf(tableOf({ pools }, 'ip6'))['pools'], ['fd00:1::/64'])
})

test('where no pool has natOutgoing and no tunnel is needed there is no table of NAT, and so no connection tracking', t => {
  const bare = { pools: [pool('10.244.0.0/16'), pool('fd00:1::/64')] }
  t.true(tableOf(bare).absent)
  t.true(tableOf(bare, 'ip6').absent)
  t.true(tableOf({ pools: [pool('10.244.0.0/16', out)] }, 'ip6').absent)
})

test('packets of the node itself into a tunnel get the address of the tunnel, also without natOutgoing', t => {
  const rule = (device: string) =>
    `into_tunnels oifname "${device}" fib saddr type local fib saddr . oif type != local masquerade fully-random comment "address of the tunnel"`
  // VXLAN may have to stand in for IP-in-IP: its rule is there before its device is
  t.deepEqual(rulesOf(tableOf({ pools: [IPIP_POOL] })).slice(2), [rule('tunl0'), rule('vxlan.calico')])
  t.is(tableOf({ pools: [IPIP_POOL] }, 'ip6').absent, true)
})

test('packets of the node itself into VXLAN by IPv6 get the address of the tunnel too, over either family', t => {
  const six = [pool('fd00:10::/32', { vxlan: 'CrossSubnet' })]
  const devices = (world: Partial<World>, family: 'ip' | 'ip6') =>
    rulesOf(tableOf(world, family)).flatMap(rule => rule.match(/^into_tunnels oifname "(\S+)".* masquerade/)?.[1] ?? [])
  t.deepEqual(devices({ pools: six }, 'ip6'), ['vxlan.calico'])
  // of IPv6 pools alone the device has no IPv4 address, and no packet of IPv4 goes into it
  t.deepEqual(devices({ pools: six }, 'ip'), ['vxlan.calico'])
  const both = { ...EMPTY.node, ipv6: '2001:db8:10::11/64' }
  t.deepEqual(devices({ pools: six, node: both }, 'ip6'), ['vxlan.calico', 'vxlan-v6.calico'])
  const { ipv4: _, ...ipv6 } = both
  t.deepEqual(devices({ pools: six, node: ipv6 }, 'ip6'), ['vxlan-v6.calico'])
  t.true(tableOf({ pools: six, node: ipv6 }).absent)
  t.true(tableOf({ pools: [pool('10.245.0.0/16', { vxlan: 'Always' })] }, 'ip6').absent)
})

test('natPortRange is for TCP and UDP, natOutgoingAddress for IPv4', t => {
  const pools = [pool('10.244.0.0/16', out), pool('fd00:1::/64', out)]
  const ports = { first: 32768, last: 65535 }
  t.deepEqual(rulesOf(tableOf({ pools, ...nat({ ports }) })).slice(1, 4), [
    'outgoing meta l4proto tcp masquerade to :32768-65535 fully-random comment "natPortRange"',
    'outgoing meta l4proto udp masquerade to :32768-65535 fully-random comment "natPortRange"',
    'outgoing masquerade fully-random comment "natOutgoing"',
  ])
  const address = '192.0.2.1'
  t.deepEqual(rulesOf(tableOf({ pools, ...nat({ ports, address }) })).slice(1, 4), [
    'outgoing meta l4proto tcp snat to 192.0.2.1:32768-65535 fully-random comment "natPortRange"',
    'outgoing meta l4proto udp snat to 192.0.2.1:32768-65535 fully-random comment "natPortRange"',
    'outgoing snat to 192.0.2.1 fully-random comment "natOutgoing"',
  ])
  t.is(
    rulesOf(tableOf({ pools, ...nat({ address }) }, 'ip6'))[1],
    'outgoing masquerade fully-random comment "natOutgoing"',
  )
})

test('with IPPoolsAndHostIPs packets to nodes keep the address of the pod, to every address that some node has', t => {
  const pools = [pool('10.244.0.0/16', out), pool('fd00:1::/64', out)]
  const n2 = { ...N2, ipv6Address: 'fd01::12' }
  const world = {
    ...EMPTY,
    pools,
    remotes: [n2, { ...N3, address: N2.address }],
    ...nat({ keepAddressTo: 'pools and nodes' }),
  }
  const node = { ...EMPTY.node, ipv6: 'fd01::11/64' }
  const calculator = calculated({ ...world, node })
  const nodes = () => [...calculator.wanted().nftElement.keys()].filter(key => /^ip6? margay nodes /.test(key)).sort()
  const all = [
    'ip margay nodes 192.168.10.11',
    'ip margay nodes 192.168.10.12',
    'ip6 margay nodes fd01::11',
    'ip6 margay nodes fd01::12',
  ]
  t.deepEqual(nodes(), all)
  t.regex(
    rulesOf(tableOf({ ...world, node })).at(-1)!,
    /ip saddr @masqueraded ip daddr != @pools ip daddr != @nodes jump outgoing/,
  )
  calculator.set('remote', 'n2', undefined)
  calculator.step()
  t.deepEqual(nodes(), all.slice(0, 3), 'n3 still has the IPv4 address')
  calculator.configure(nat({}))
  calculator.step()
  t.deepEqual(nodes(), [])
  calculator.configure(nat({ keepAddressTo: 'pools and nodes' }))
  calculator.step()
  t.deepEqual(nodes(), all.slice(0, 3))
})

test('another node changes nothing in the tables, and one element where packets to nodes are told apart', t => {
  const world = { ...EMPTY, pools: [pool('10.244.0.0/16', out)], ...nat({ keepAddressTo: 'pools and nodes' }) }
  const calculator = calculated(world)
  calculator.set('remote', 'n2', N2)
  const { nftTable, nftElement } = calculator.step()
  t.is(nftTable.size, 0)
  const keys = [...nftElement.keys()].filter(key => !key.startsWith('inet margay node_tunnels '))
  t.deepEqual(keys, ['inet margay nodes 192.168.10.12', 'ip margay nodes 192.168.10.12'])
})

test('no table of NAT is wanted before all pools are known: one that an earlier run left is adopted, never emptied', t => {
  const calculator = new Calculator(CALCULATOR)
  tell(calculator, { ...FULL, pools: [] })
  calculator.step()
  t.deepEqual([...calculator.wanted().nftTable.keys()], ['inet margay', 'arp margay'])
  tell(calculator, { pools: FULL.pools })
  calculator.useLearned()
  calculator.step()
  t.true(calculator.wanted().nftTable.has('ip margay'))
})

test('a disabled pool is told like any other; a pool for Services alone is none of pods', t => {
  const pools = [pool('10.244.0.0/16', out), pool('10.244.7.0/24', { ...out, forServicesOnly: true })]
  t.deepEqual(contentsOf(tableOf({ pools }))['pools'], ['10.244.0.0-10.244.6.255', '10.244.8.0-10.244.255.255'])
})

const cidr = fc
  .tuple(
    fc.constantFrom('10.0.0.0', '10.0.0.128', '10.0.1.0', '255.255.255.192', '0.0.0.0'),
    fc.constantFrom(0, 23, 24, 25, 26, 32),
  )
  .map(([address, length]) => `${address}/${length}`)
  .filter(text => formatCidr(parseCidr(text)!) === text)
const anyPools = fc.uniqueArray(fc.record({ cidr, natOutgoing: fc.boolean(), forServicesOnly: fc.boolean() }), {
  selector: each => each.cidr,
  maxLength: 8,
})

test('each address is as its innermost pool has it, in ranges that are sorted and do not touch', t => {
  const probes = ['0.0.0.0', '10.0.0.0', '10.0.0.1', '10.0.0.127', '10.0.0.128', '10.0.0.191', '10.0.0.192', '10.0.1.0']
  probes.push('10.0.1.255', '10.0.2.0', '255.255.255.191', '255.255.255.192', '255.255.255.255')
  const number = (address: string) => address.split('.').reduce((sum, octet) => sum * 256 + Number(octet), 0)
  const ends = (word: string) => {
    if (word.includes('-')) return word.split('-').map(number)
    const [address, length = '32'] = word.split('/') as [string, string?]
    return [number(address), number(address) + 2 ** (32 - Number(length)) - 1]
  }
  fc.assert(
    fc.property(anyPools, some => {
      const all = some.map(({ cidr: text, ...rest }) => pool(text, rest))
      const found = poolRanges(all, 'ipv4')
      for (const words of Object.values(found)) {
        const flat = words.map(word => ends(word) as [number, number])
        for (const [i, [first, last]] of flat.entries()) {
          t.true(first <= last)
          if (i > 0) t.true(first > flat[i - 1]![1] + 1)
        }
      }
      const isIn = (words: readonly string[], address: string) =>
        words.some(word => {
          const [first, last] = ends(word) as [number, number]
          return number(address) >= first && number(address) <= last
        })
      for (const address of probes) {
        const [inner] = all
          .filter(({ cidr: text }) => contains(text, address))
          .sort((a, b) => Number(b.cidr.split('/')[1]) - Number(a.cidr.split('/')[1]))
        t.is(isIn(found.pools, address), inner !== undefined && inner.forServicesOnly !== true)
        t.is(
          isIn(found.masqueraded, address),
          inner !== undefined && inner.forServicesOnly !== true && inner.natOutgoing === true,
        )
      }
    }),
  )
})

test('the reverse path is filtered loosely on tunnels, and on the uplink only where pods reach nodes with their own address', t => {
  const loose = (world: Partial<World>) =>
    [
      ...calculated({ ...EMPTY, ...world })
        .wanted()
        .sysctl.values(),
    ]
      .filter(({ path }) => path.at(-1) === 'rp_filter')
      .map(({ path, value, orValue }) => `${path[1]} ${value} or ${orValue}`)
      .sort()
  const tunnelled = { ipip: 'Always' as const }
  t.deepEqual(loose({ pools: [pool('10.244.0.0/16')] }), [])
  t.deepEqual(loose({ pools: [pool('10.244.0.0/16', { ...tunnelled, ...out })] }), ['tunl0 2 or 0'])
  t.deepEqual(loose({ pools: [pool('10.244.0.0/16', tunnelled)] }), ['eth0 2 or 0', 'tunl0 2 or 0'])
  const kept = nat({ keepAddressTo: 'pools and nodes' })
  t.deepEqual(loose({ pools: [pool('10.244.0.0/16', { ...tunnelled, ...out })], ...kept }), [
    'eth0 2 or 0',
    'tunl0 2 or 0',
  ])
})

test('on a tunnel device without an address the reverse path is not filtered: loosely would be strictly there', t => {
  const { ipipTunnelAddress: _, ...node } = EMPTY.node
  const calculator = calculated({ ...EMPTY, node, pools: [pool('10.244.0.0/16', { ipip: 'Always', ...out })] })
  const filter = () => {
    const { value, orValue } = calculator.wanted().sysctl.get('net.ipv4 conf/tunl0/rp_filter')!
    return [value, orValue]
  }
  t.deepEqual(filter(), ['0', undefined])
  calculator.configure({ node: { ...node, ipipTunnelAddress: '10.245.1.9' } })
  calculator.step()
  t.deepEqual(filter(), ['2', '0'])
})

test('no table of floating addresses is wanted before all were told: one that an earlier run left is adopted, never emptied', t => {
  const calculator = calculated(FULL)
  calculator.set('floating', '10.244.9.7', { at: 'here', endpoint: 'a', to: '10.244.1.5' })
  calculator.step()
  const wanted = () => [...calculator.wanted().nftTable.keys()].filter(key => key.endsWith('floating'))
  t.deepEqual(wanted(), [])
  t.is(calculator.wanted().route.get('10.244.9.7/32')?.interfaceName, 'calia')
  calculator.useFloating()
  calculator.step()
  t.deepEqual(wanted(), ['ip margay-floating', 'ip6 margay-floating'])
  t.true(calculator.wanted().nftTable.get('ip6 margay-floating')?.absent)
})
