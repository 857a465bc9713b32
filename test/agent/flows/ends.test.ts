import test from 'ava'
import { FlowEnds } from '../../../agent/flows/ends.ts'
import type { PolicyEndpoint } from '../../../felix/policy/model.ts'

const pod = (...addresses: string[]): PolicyEndpoint => ({ kind: 'pod', labels: {}, addresses, ports: [] })
const set = (...nets: string[]) => ({ labels: {}, nets })

test('an address is that of a pod, a host, a node, or of the set with the longest CIDR around it', t => {
  const ends = new FlowEnds()
  ends.set('endpoint', 'shop/web', pod('10.244.0.7', 'fd00::7'))
  ends.set('endpoint', '/c1-eth0', pod('10.244.0.8'))
  ends.set('endpoint', 'n1-eth0', { ...pod('192.0.2.11'), kind: 'host' })
  ends.set('node', 'n2', { labels: {}, addresses: ['192.0.2.12'] })
  ends.set('networkSet', 'wide', set('198.51.100.0/24'))
  ends.set('networkSet', 'shop/near', set('198.51.100.0/28', '2001:db8::/32'))
  t.deepEqual(ends.at('fd00::7'), { address: 'fd00::7', kind: 'Pod', namespace: 'shop', name: 'web' })
  t.deepEqual(ends.at('10.244.0.8'), { address: '10.244.0.8', kind: 'Endpoint', name: 'c1-eth0' })
  t.like(ends.at('192.0.2.11'), { kind: 'HostEndpoint', name: 'n1-eth0' })
  t.like(ends.at('192.0.2.12'), { kind: 'Node', name: 'n2' })
  t.like(ends.at('198.51.100.3'), { kind: 'NetworkSet', namespace: 'shop', name: 'near' })
  t.like(ends.at('198.51.100.30'), { kind: 'GlobalNetworkSet', name: 'wide' })
  t.like(ends.at('2001:db8::9'), { kind: 'NetworkSet', name: 'near' })
  t.deepEqual(ends.at('203.0.113.1'), { address: '203.0.113.1' })
})

test('an address goes with the object that has it, and not with one that had it before', t => {
  const ends = new FlowEnds()
  ends.set('endpoint', 'shop/old', pod('10.244.0.7'))
  ends.set('endpoint', 'shop/new', pod('10.244.0.7'))
  ends.set('endpoint', 'shop/old', undefined)
  t.like(ends.at('10.244.0.7'), { name: 'new' })
  ends.set('endpoint', 'shop/new', pod('10.244.0.9'))
  t.deepEqual(ends.at('10.244.0.7'), { address: '10.244.0.7' })
  ends.set('networkSet', 'b', set('198.51.100.0/24'))
  ends.set('networkSet', 'a', set('198.51.100.0/24'))
  t.like(ends.at('198.51.100.1'), { name: 'a' })
  ends.set('networkSet', 'a', set('203.0.113.0/24'))
  t.like(ends.at('198.51.100.1'), { name: 'b' })
  ends.set('networkSet', 'b', undefined)
  t.deepEqual(ends.at('198.51.100.1'), { address: '198.51.100.1' })
})
