// Which address of a machine is the node's, by the words of an operator.
import test from 'ava'
import { choose, isOthers, type MachineChoice, parseChoice } from '../../agent/address-choice.ts'
import type { Family } from '../../lib/ip.ts'

/** A machine with two uplinks and what other programs make; the number is the interface's index. */
const LINKS = [
  'lo',
  'docker0',
  'eth0',
  'eth1',
  'cali1234',
  'tunl0',
  'dummy0',
  'nodelocaldns',
  'br-0123456789ab',
  'veth12',
  'bond0',
  'down0',
]
const ADDRESSES: Record<string, readonly string[]> = {
  lo: ['127.0.0.1', '203.0.113.1', '::1'],
  docker0: ['172.17.0.1', 'fd17::1'],
  eth0: ['169.254.7.7', '192.0.2.11', '192.0.2.12', 'fe80::11', '2001:db8::11'],
  eth1: ['198.51.100.7', '2001:db8:1::7'],
  cali1234: ['10.244.0.9'],
  tunl0: ['10.244.0.1'],
  dummy0: ['203.0.113.2'],
  nodelocaldns: ['169.254.20.10', '10.96.0.10'],
  'br-0123456789ab': ['172.18.0.1'],
  veth12: ['10.5.0.1'],
  bond0: ['192.0.2.99'],
  down0: ['192.0.2.77'],
}

function chosen(text: string, family: Family = 'ipv4', route?: { ifindex: number; source?: string }): string {
  const choice = parseChoice(text, family) as MachineChoice
  const links = LINKS.map((name, i) => ({
    index: i + 1,
    name,
    mtu: 1500,
    up: name !== 'down0',
    running: true,
    kind: 'dummy',
  }))
  const addresses = LINKS.flatMap((name, i) =>
    ADDRESSES[name]!.filter(address => address.includes(':') === (family === 'ipv6')).map(address => ({
      ...{ ifindex: i + 1, address, length: 24, scope: 0 },
    })),
  )
  const answer = choose(choice, { addresses, links, route } as never)
  return typeof answer === 'string' ? 'none' : answer.address
}

test('each word of Calico chooses the address that it names', t => {
  for (const [text, ipv4, ipv6] of [
    ['first-found', '192.0.2.11', '2001:db8::11'],
    ['skip-interface=eth0', '198.51.100.7', '2001:db8:1::7'],
    ['skip-interface=eth.*', '192.0.2.99', 'none'],
    ['skip-interface=eth.*,bond', 'none', 'none'],
    ['interface=eth1', '198.51.100.7', '2001:db8:1::7'],
    ['interface=bond.*,eth1', '192.0.2.99', '2001:db8:1::7'],
    ['interface=wlan0, eth1', '198.51.100.7', '2001:db8:1::7'],
    ['interface=lo', '203.0.113.1', 'none'],
    ['interface=dummy0', '203.0.113.2', 'none'],
    ['interface=docker0', '172.17.0.1', 'fd17::1'],
    ['interface=down0', 'none', 'none'],
  ] as const) {
    t.is(chosen(text), ipv4, text)
    t.is(chosen(text, 'ipv6'), ipv6, text)
  }
  for (const [text, address] of [
    ['cidr=198.51.100.0/24', '198.51.100.7'],
    ['cidr=10.0.0.0/8,192.0.2.0/24', '192.0.2.11'],
    ['cidr=203.0.113.2/32', '203.0.113.2'],
    ['cidr=172.16.0.0/12', 'none'],
    ['cidr=169.254.0.0/16', 'none'],
  ] as const)
    t.is(chosen(text), address, text)
  t.is(chosen('cidr=2001:db8:1::/48', 'ipv6'), '2001:db8:1::7')
  t.is(chosen('can-reach=8.8.8.8', 'ipv4', { ifindex: 4 }), '198.51.100.7')
  t.is(chosen('can-reach=8.8.8.8', 'ipv4', { ifindex: 3, source: '192.0.2.12' }), '192.0.2.12')
  t.is(chosen('can-reach=8.8.8.8'), 'none')
})

test('a device of another program is taken only under its whole name', t => {
  t.is(chosen('interface=docker'), 'none')
  t.is(chosen('interface=.*0'), '172.17.0.1', 'this pattern is its whole name')
  t.is(chosen('interface=eth'), '192.0.2.11', 'not veth12, which has the letters in it')
  for (const name of [
    'mgbw0123456789a',
    'docker0',
    'docker_gwbridge',
    'br-0123456789ab',
    'virbr0',
    'veth0',
    'cali0',
    'tunl0',
    'kube-ipvs0',
    'cni0',
    'podman1',
    'vxlan.calico',
    'nodelocaldns',
    'flannel.1',
  ])
    t.true(isOthers(name), name)
  for (const name of ['eth0', 'ens3', 'br0', 'br-lan', 'bond0', 'enp1s0f0', 'wlan0', 'dummy0', 'lo', 'vxlan0', 'dock1'])
    t.false(isOthers(name), name)
})

test('what is no choice is refused with what is wrong', t => {
  for (const [text, family, why] of [
    ['', 'ipv4', /is none of: an ipv4 address, auto/],
    ['eth0', 'ipv4', /is none of/],
    ['interface=', 'ipv4', /name of an interface is missing/],
    ['interface=(', 'ipv4', /no regular expression/],
    ['can-reach=www.google.com', 'ipv4', /no ipv4 address: a name would be another address/],
    ['can-reach=8.8.8.8', 'ipv6', /no ipv6 address/],
    ['cidr=10.0.0.0', 'ipv4', /no ipv4 CIDR/],
    ['cidr=10.0.0.0/8,fd00::/8', 'ipv4', /fd00::\/8 is no ipv4 CIDR/],
    ['2001:db8::1', 'ipv4', /is none of/],
    ['bgp=1', 'ipv4', /is none of/],
  ] as const)
    t.throws(() => parseChoice(text, family), { message: why }, text)
  for (const family of ['ipv4', 'ipv6'] as const) t.deepEqual(parseChoice('none', family), { by: 'none' })
  t.deepEqual(parseChoice('192.0.2.1/24', 'ipv4'), { by: 'address', address: '192.0.2.1' })
})
