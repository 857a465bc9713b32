import test from 'ava'
import { announcedBlocks, felixPools } from '../../../agent/cluster/pools.ts'
import { aPool } from '../../datastore/objects.ts'

const made = (name: string, cidr: string, year: number, spec: object = {}) =>
  aPool(name, { cidr, ...spec }, { creationTimestamp: `${year}-01-01T00:00:00Z` })

test('felix hears of each pool by its name, with its modes', t => {
  const pools = felixPools([made('a', '10.0.0.0/16', 2026, { ipipMode: 'CrossSubnet', disableBGPExport: true })])
  t.deepEqual([...pools], [['a', { cidr: '10.0.0.0/16', ipip: 'CrossSubnet', vxlan: 'Never', disableBgpExport: true }]])
})

test('a pool inside an older one has no blocks, so felix does not hear of it', t => {
  const pools = felixPools([made('inside', '10.0.8.0/24', 2027), made('old', '10.0.0.0/16', 2026)])
  t.deepEqual([...pools.keys()], ['old'])
})

test('a pool with disableBGPExport that is made again under another name still keeps its blocks back', t => {
  const hidden = { disableBGPExport: true }
  const blocks = ['10.0.0.0/26', '10.1.0.0/26']
  t.deepEqual(announcedBlocks(blocks, [made('old-name', '10.0.0.0/16', 2026, hidden)]), ['10.1.0.0/26'])
  t.deepEqual(announcedBlocks(blocks, [made('new-name', '10.0.0.0/16', 2027, hidden)]), ['10.1.0.0/26'])
  t.deepEqual(announcedBlocks(blocks, [made('new-name', '10.0.0.0/16', 2027)]), blocks)
})
