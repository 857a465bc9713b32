// Which host endpoint an interface has.
import test from 'ava'
import { hostInterfaces } from '../../../felix/policy/host-interfaces.ts'
import type { HostEndpointHere } from '../../../felix/policy/model.ts'

const THERE = new Map([
  ['lo', ['127.0.0.1']],
  ['eth0', ['192.0.2.1', '2001:db8::1']],
  ['eth1', ['198.51.100.1']],
  ['cali1', ['10.0.0.1']],
])
const named = (interfaceName: string): HostEndpointHere => ({ interfaceName, addresses: [], profiles: [] })
const addressed = (...addresses: string[]): HostEndpointHere => ({ addresses, profiles: [] })

function found(hosts: Record<string, HostEndpointHere>) {
  const { interfaces, gaps } = hostInterfaces(new Map(Object.entries(hosts)), THERE, 'cali')
  return {
    is: Object.fromEntries(interfaces),
    lacks: Object.fromEntries(gaps.entries().map(([key, { why }]) => [key, why])),
  }
}

test('a name counts before an address, and of two the first by name', t => {
  t.deepEqual(found({ b: named('eth0'), a: addressed('192.0.2.1'), c: named('eth0') }), {
    is: { b: ['eth0'] },
    lacks: { a: 'HostEndpoint b is for its interface', c: 'HostEndpoint b is for its interface' },
  })
  t.deepEqual(found({ a: addressed('2001:db8::1', '198.51.100.1'), b: addressed('192.0.2.1') }), {
    is: { a: ['eth0', 'eth1'] },
    lacks: { b: 'HostEndpoint a is for its interface' },
  })
})

test('an interface that is not there is its host endpoint’s from its first packet on, and is told', t => {
  t.deepEqual(found({ a: named('eth9'), b: addressed('203.0.113.1'), c: addressed() }), {
    is: { a: ['eth9'] },
    lacks: {
      a: 'this node has no interface eth9',
      b: 'no interface of this node has an address of 203.0.113.1',
      c: 'no interface of this node has an address of expectedIPs, which is empty',
    },
  })
})

test('interfaces of pods and loopback are no host endpoint’s, and of two for all interfaces the first counts', t => {
  t.deepEqual(
    found({ a: named('cali1'), b: addressed('10.0.0.1', '127.0.0.1'), c: named('*'), d: named('*'), e: named('lo') }),
    {
      is: { c: ['*'] },
      lacks: {
        a: 'cali1 is no interface of the host that is protected',
        b: 'no interface of this node has an address of 10.0.0.1, 127.0.0.1',
        d: 'HostEndpoint c is for its interface',
        e: 'lo is no interface of the host that is protected',
      },
    },
  )
})
