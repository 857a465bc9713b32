// The neighbors as openconfig-bgp has them: names and types are those of its YANG (openconfig-bgp-neighbor, -common, 9.8.0).
import test from 'ava'
import { openconfigNeighbors } from '../../agent/openconfig.ts'
import { bringUp, pair } from '../bgp/pair.ts'
import { settle } from '../bgp/settle.ts'

const isUint = (most: number) => (value: unknown) =>
  Number.isInteger(value) && Number(value) >= 0 && Number(value) <= most
/** RFC 7951 §6.1: numbers of 64 bits are texts. */
const isUint64 = (value: unknown) => typeof value === 'string' && /^(0|[1-9]\d*)$/.test(value)
const isBoolean = (value: unknown) => typeof value === 'boolean'
const isAddress = (value: unknown) => /^[0-9a-f.:]+$/.test(String(value))
const isOneOf =
  (...names: readonly string[]) =>
  (value: unknown) =>
    names.includes(String(value))
const isFamily = isOneOf('openconfig-bgp-types:IPV4_UNICAST', 'openconfig-bgp-types:IPV6_UNICAST')
const isUint32 = isUint(2 ** 32 - 1)

/** Every leaf below `neighbor` that may be there. */
const MODEL: Record<string, (value: unknown) => boolean> = {
  'neighbor-address': isAddress,
  'state/neighbor-address': isAddress,
  'state/description': value => typeof value === 'string',
  'state/peer-as': isUint32,
  'state/local-as': isUint32,
  'state/peer-type': isOneOf('INTERNAL', 'EXTERNAL'),
  'state/session-state': isOneOf('IDLE', 'CONNECT', 'ACTIVE', 'OPENSENT', 'OPENCONFIRM', 'ESTABLISHED'),
  'state/last-established': isUint64,
  'state/established-transitions': isUint64,
  'state/messages/sent/UPDATE': isUint64,
  'state/messages/received/UPDATE': isUint64,
  'timers/state/negotiated-hold-time': isUint(65535),
  'error-handling/state/erroneous-update-messages': isUint32,
  'graceful-restart/state/peer-restarting': isBoolean,
  'graceful-restart/state/local-restarting': isBoolean,
  'afi-safis/afi-safi/afi-safi-name': isFamily,
  'afi-safis/afi-safi/state/afi-safi-name': isFamily,
  'afi-safis/afi-safi/state/active': isBoolean,
  'afi-safis/afi-safi/state/prefixes/received-pre-policy': isUint32,
  'afi-safis/afi-safi/state/prefixes/received': isUint32,
  'afi-safis/afi-safi/state/prefixes/sent': isUint32,
}

function leaves(value: unknown, path: string): [string, unknown][] {
  if (Array.isArray(value)) return value.flatMap(each => leaves(each, path))
  if (typeof value !== 'object' || value === null) return [[path, value]]
  return Object.entries(value).flatMap(([name, each]) => leaves(each, path === '' ? name : `${path}/${name}`))
}

/** As it goes over the socket. */
function told(speaker: Parameters<typeof openconfigNeighbors>[0]) {
  const { 'openconfig-bgp:neighbors': all, ...others } = JSON.parse(JSON.stringify(openconfigNeighbors(speaker)))
  return { neighbors: all.neighbor as Record<string, Record<string, unknown>>[], others }
}

test('neighbors have the names and types of the model, up and down, and every leaf of the table is there', async t => {
  const net = await pair({
    b: { import: [{ action: 'reject', match: { operator: 'Equal', cidr: '192.0.2.0/24' } }, { action: 'accept' }] },
  })
  t.teardown(net.close)
  const seen = new Set<string>()
  const check = () => {
    const { neighbors, others } = told(net.b)
    t.deepEqual(others, {})
    for (const [path, value] of leaves(neighbors, '')) {
      t.true(MODEL[path]?.(value), `${path}: ${JSON.stringify(value)}`)
      seen.add(path)
    }
    return neighbors
  }
  t.deepEqual(told(net.b).neighbors, [])
  await bringUp(net)
  net.a.announce({ prefix: '192.0.2.0/24' })
  net.a.announce({ prefix: '198.51.100.0/24' })
  net.b.announce({ prefix: '203.0.113.0/24' })
  await settle()
  const [up] = check()
  const since = net.b.peers()[0]!.sinceMs
  t.like(up, {
    'neighbor-address': '10.0.0.1',
    state: {
      ...{ description: 'a', 'peer-as': 65001, 'local-as': 65002, 'peer-type': 'EXTERNAL' },
      ...{ 'session-state': 'ESTABLISHED', 'established-transitions': '1', 'last-established': `${since}000000` },
    },
    'graceful-restart': { state: { 'peer-restarting': false, 'local-restarting': false } },
  })
  t.deepEqual((up!['afi-safis'] as Record<string, unknown>)['afi-safi'], [
    {
      'afi-safi-name': 'openconfig-bgp-types:IPV4_UNICAST',
      state: {
        ...{ 'afi-safi-name': 'openconfig-bgp-types:IPV4_UNICAST', active: true },
        prefixes: { 'received-pre-policy': 2, received: 1, sent: 1 },
      },
    },
  ])
  net.a.removePeer('b')
  await settle()
  const [down] = check()
  t.not(down!['state']!['session-state'], 'ESTABLISHED')
  t.is(down!['state']!['established-transitions'], '1')
  t.deepEqual([...seen].sort(), Object.keys(MODEL).sort())
})

test('of two sessions with one address the one that is up is told, a link is no part of an address, and a peer without one is left out', async t => {
  const net = await pair()
  t.teardown(net.close)
  net.b.setPeer({ name: 'other', address: '10.0.0.1', port: 1179, asn: 65009, passive: true })
  net.b.setPeer({ name: 'link', interface: 'e0', asn: 65003 })
  await bringUp(net)
  t.deepEqual(
    told(net.b).neighbors.map(neighbor => neighbor['state']!['description']),
    ['a'],
  )
  const [peer] = net.b.peers().filter(({ name }) => name === 'a')
  const linkLocal = { ...peer!, address: 'fe80::1%e0' }
  const { rib, restarting } = net.b
  const { neighbors } = told({ peers: () => [linkLocal], rib, restarting })
  t.is(String(neighbors[0]!['neighbor-address']), 'fe80::1')
})
