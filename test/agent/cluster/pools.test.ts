import test from 'ava'
import { announcedBlocks, felixPools } from '../../../agent/cluster/pools.ts'
import { bgpSettings } from '../../../agent/cluster/settings.ts'
import { validate } from '../../../api/validate.ts'
import { aPool, aResource } from '../../datastore/objects.ts'

const made = (name: string, cidr: string, year: number, spec: object = {}) =>
  aPool(name, { cidr, ...spec }, { creationTimestamp: `${year}-01-01T00:00:00Z` })

test('felix hears of each pool by its name, with its modes', t => {
  const pools = felixPools([made('a', '10.0.0.0/16', 2026, { ipipMode: 'CrossSubnet', disableBGPExport: true })])
  const modes = { ipip: 'CrossSubnet', vxlan: 'Never', disableBgpExport: true } as const
  const pool = { cidr: '10.0.0.0/16', ...modes, natOutgoing: false, forServicesOnly: false }
  t.deepEqual([...pools], [['a', pool]])
})

test('a pool is for Services only where its list of uses says so; an empty list says nothing', t => {
  const uses = { services: ['LoadBalancer'], both: ['Workload', 'LoadBalancer'], nothing: [] }
  const pools = felixPools(
    Object.entries(uses).map(([name, allowedUses], i) => made(name, `10.${i}.0.0/16`, 2026, { allowedUses })),
  )
  const only = [...pools].filter(([, pool]) => pool.forServicesOnly).map(([name]) => name)
  t.deepEqual(only, ['services'])
})

test('a pool inside an older one has no blocks, so felix does not hear of it', t => {
  const pools = felixPools([made('inside', '10.0.8.0/24', 2027), made('old', '10.0.0.0/16', 2026)])
  t.deepEqual([...pools.keys()], ['old'])
})

test('a pool with disableBGPExport that is made again under another name still keeps its blocks back', t => {
  const hidden = { disableBGPExport: true }
  const blocks = ['10.0.0.0/26', '10.1.0.0/26']
  const announced = (pools: ReturnType<typeof made>[]) =>
    announcedBlocks(blocks, pools, bgpSettings(undefined)).map(({ prefix }) => prefix)
  t.deepEqual(announced([made('old-name', '10.0.0.0/16', 2026, hidden)]), ['10.1.0.0/26'])
  t.deepEqual(announced([made('new-name', '10.0.0.0/16', 2027, hidden)]), ['10.1.0.0/26'])
  t.deepEqual(announced([made('new-name', '10.0.0.0/16', 2027)]), blocks)
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
  t.deepEqual(announcedBlocks(['10.0.0.0/26', '10.1.0.0/26', '192.0.2.0/26'], [], config), [
    { prefix: '10.0.0.0/26', communities: ['65001:100', '65001:1:2', '65535:65281'], localPref },
    { prefix: '10.1.0.0/26', communities: ['65535:65281'], localPref },
    { prefix: '192.0.2.0/26', communities: [], localPref },
  ])
})

test('a community that is none, and a name that nobody defined, are refused with the field', t => {
  const problems = (spec: object) => {
    const result = validate('BGPConfiguration', { metadata: { name: 'default' }, spec })
    return Array.isArray(result) ? result.map(({ path }) => path) : []
  }
  t.deepEqual(problems({ communities: [{ name: 'a', value: '70000:1' }] }), ['spec.communities[0].value'])
  t.deepEqual(problems({ prefixAdvertisements: [{ cidr: '10.0.0.0/8', communities: ['nobody', '65001:1'] }] }), [
    'spec.prefixAdvertisements[0].communities[0]',
  ])
  t.deepEqual(problems({ prefixAdvertisements: [{ cidr: '10.0.0.0/99', communities: [] }] }), [
    'spec.prefixAdvertisements[0].cidr',
  ])
})
