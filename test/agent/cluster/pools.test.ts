import test from 'ava'
import { felixPools } from '../../../agent/cluster/pools.ts'
import { validate } from '../../../api/validate.ts'
import { aPool } from '../../datastore/objects.ts'

const made = (name: string, cidr: string, year: number, spec: object = {}) =>
  aPool(name, { cidr, ...spec }, { creationTimestamp: `${year}-01-01T00:00:00Z` })

test('felix hears of each pool by its name, with its modes', t => {
  const of = (spec: object) =>
    felixPools([made('a', '10.0.0.0/16', 2026, { disableBGPExport: true, ...spec })]).get('a')
  const pool = { cidr: '10.0.0.0/16', natOutgoing: false, forServicesOnly: false, vxlan: 'Never' } as const
  t.deepEqual(of({ ipipMode: 'CrossSubnet' }), { ...pool, ipip: 'CrossSubnet', isExchanged: true })
  t.deepEqual(of({}), { ...pool, ipip: 'Never', isExchanged: false })
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
