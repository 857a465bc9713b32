import test from 'ava'
import fc from 'fast-check'
import { poolOf, poolsInEffect } from '../../api/pools.ts'
import { contains, maskAddress } from '../../lib/ip.ts'
import { aPool } from '../datastore/objects.ts'

const made = (name: string, cidr: string, year: number) =>
  aPool(name, { cidr }, { creationTimestamp: `${year}-01-01T00:00:00Z` })

test('a block belongs to the oldest pool that holds it, wider or narrower', t => {
  const [wide, narrow] = [made('wide', '10.0.0.0/16', 2026), made('narrow', '10.0.8.0/24', 2027)]
  t.is(poolOf([narrow, wide], '10.0.8.0/26')?.metadata.name, 'wide')
  const [late, early] = [made('wide', '10.0.0.0/16', 2027), made('narrow', '10.0.8.0/24', 2026)]
  t.is(poolOf([late, early], '10.0.8.0/26')?.metadata.name, 'narrow')
  t.is(poolOf([late, early], '10.0.9.1')?.metadata.name, 'wide')
  t.is(poolOf([late, early], '10.9.0.0/26'), undefined)
})

test('a pool that is made again under another name has the blocks of the old one', t => {
  t.is(poolOf([made('new-name', '10.0.0.0/16', 2027)], '10.0.8.0/26')?.metadata.name, 'new-name')
})

test('among the pools in effect the longest prefix that holds a block is the pool it belongs to', t => {
  const aCidr = fc
    .tuple(fc.integer({ min: 0, max: 0xff }), fc.integer({ min: 22, max: 26 }))
    .map(([n, length]) => `${maskAddress(`10.0.${n >> 4}.${(n & 15) << 4}`, length)}/${length}`)
  const somePools = fc
    .uniqueArray(fc.tuple(aCidr, fc.integer({ min: 2020, max: 2024 })), { selector: ([cidr]) => cidr, maxLength: 8 })
    .map(all => all.map(([cidr, year], i) => made(`p${i}`, cidr, year)))
  fc.assert(
    fc.property(somePools, aCidr, (pools, block) => {
      const holders = poolsInEffect(pools).filter(({ spec }) => contains(spec.cidr, block))
      const longest = holders.sort((a, b) => Number(b.spec.cidr.split('/')[1]) - Number(a.spec.cidr.split('/')[1]))[0]
      t.is(longest?.metadata.name, poolOf(pools, block)?.metadata.name)
    }),
  )
})
