// What a node announces, and with what.
import test from 'ava'
import { advertised } from '../../../agent/cluster/advertised.ts'
import type { Standing } from '../../../agent/cluster/services.ts'
import { bgpSettings } from '../../../agent/cluster/settings.ts'
import { FOR_NODES } from '../../../agent/cluster/trust.ts'
import { aPool, aResource } from '../../datastore/objects.ts'

const NONE: ReadonlyMap<string, Standing> = new Map()

const made = (name: string, cidr: string, year: number, spec: object = {}) =>
  aPool(name, { cidr, ...spec }, { creationTimestamp: `${year}-01-01T00:00:00Z` })

test('a pool with disableBGPExport that is made again under another name still keeps its blocks back', t => {
  const hidden = { disableBGPExport: true }
  const blocks = ['10.0.0.0/26', '10.1.0.0/26']
  const announced = (pools: ReturnType<typeof made>[]) =>
    advertised({ blocks, services: NONE }, pools, bgpSettings(undefined)).map(({ prefix }) => prefix)
  t.deepEqual(announced([made('old-name', '10.0.0.0/16', 2026, hidden)]), ['10.1.0.0/26'])
  t.deepEqual(announced([made('new-name', '10.0.0.0/16', 2027, hidden)]), ['10.1.0.0/26'])
  t.deepEqual(announced([made('new-name', '10.0.0.0/16', 2027)]), blocks)
})

test('blocks of a pool with disableBGPExport go to no one, and with a tunnel to the nodes alone', t => {
  const of = (spec: object) =>
    advertised(
      { blocks: ['10.0.0.0/26'], services: NONE },
      [made('a', '10.0.0.0/16', 2026, spec)],
      bgpSettings(undefined),
    )
  for (const field of ['vxlanMode', 'ipipMode'])
    for (const mode of ['Always', 'CrossSubnet']) {
      const spec = { [field]: mode }
      t.like(of({ ...spec, disableBGPExport: true }), [{ prefix: '10.0.0.0/26', communities: [FOR_NODES] }])
      t.like(of(spec), [{ prefix: '10.0.0.0/26', communities: [] }])
    }
  t.deepEqual(of({ disableBGPExport: true }), [])
})

test('what is of Services too, peers outside hear of whatever the pool says of its blocks', t => {
  const services = new Map<string, Standing>([['203.0.113.5/32', 'stays']])
  for (const spec of [{}, { vxlanMode: 'Always' }, { disabled: true, ipipMode: 'Always' }]) {
    const pools = [made('a', '203.0.113.0/24', 2026, { ...spec, disableBGPExport: true })]
    const found = advertised({ blocks: ['203.0.113.5/32'], services }, pools, bgpSettings(undefined))
    t.like(found, [{ prefix: '203.0.113.5/32', communities: [] }])
  }
})

const advertising = (spec: object) => aResource('BGPConfiguration', { metadata: { name: 'default' }, spec }).spec

test('a block is announced with the communities of every prefixAdvertisement that it lies in, by name or as they are', t => {
  const config = advertising({
    communities: [{ name: 'inside', value: '65535:65281' }],
    prefixAdvertisements: [
      { cidr: '10.0.0.0/8', communities: ['inside'] },
      { cidr: '10.0.0.0/16', communities: ['65001:100', '65001:1:2', 'inside'] },
    ],
  })
  const localPref = 2147483647 - 1024
  t.deepEqual(advertised({ blocks: ['10.0.0.0/26', '10.1.0.0/26', '192.0.2.0/26'], services: NONE }, [], config), [
    { prefix: '10.0.0.0/26', communities: ['65001:100', '65001:1:2', '65535:65281'], localPref },
    { prefix: '10.1.0.0/26', communities: ['65535:65281'], localPref },
    { prefix: '192.0.2.0/26', communities: [], localPref },
  ])
})

test('blocks are preferred inside by the priority of their family, and prefixes of Services by the normal one', t => {
  const config = advertising({ ipv4NormalRoutePriority: 512, ipv6NormalRoutePriority: 2147483646 })
  const services = new Map<string, Standing>([['10.96.0.0/12', 'stays']])
  const announced = advertised({ blocks: ['10.0.0.0/26', 'fd00::/122'], services }, [], config)
  t.deepEqual(
    announced.map(({ prefix, localPref }) => [prefix, localPref]),
    [
      ['10.0.0.0/26', 2147483647 - 512],
      ['fd00::/122', 1],
      ['10.96.0.0/12', 2147483647 - 1024],
    ],
  )
})

test('prefixes of Services have the communities of their ranges, and one that this node leaves asks for other ways', t => {
  const config = advertising({ prefixAdvertisements: [{ cidr: '192.0.2.0/24', communities: ['65001:100'] }] })
  const services = new Map<string, Standing>([
    ['10.96.0.0/12', 'stays'],
    ['192.0.2.0/24', 'stays'],
    ['192.0.2.1/32', 'leaves'],
    ['10.0.0.5/32', 'leaves'],
  ])
  const localPref = 2147483647 - 1024
  t.deepEqual(advertised({ blocks: ['10.0.0.5/32'], services }, [], config), [
    { prefix: '10.0.0.5/32', communities: [], localPref },
    { prefix: '10.96.0.0/12', communities: [], localPref },
    { prefix: '192.0.2.0/24', communities: ['65001:100'], localPref },
    { prefix: '192.0.2.1/32', communities: ['65001:100', '65535:0'], localPref: 0 },
  ])
})
