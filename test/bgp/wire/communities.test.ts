import test from 'ava'
import fc from 'fast-check'
import {
  encapsulation,
  formatCommunity,
  formatExtendedCommunity,
  formatLargeCommunity,
  isTransitive,
  parseCommunity,
  tunnelType,
} from '../../../bgp/wire/communities.ts'
import { u32 } from './arbitraries.ts'

test('communities are read from the text they print as', t => {
  const u64 = fc.bigInt({ min: 0n, max: 0xffffffffffffffffn })
  const kinds = fc.constantFrom(0x0002n, 0x0003n, 0x0102n, 0x0203n, 0x030cn, 0x4004n)
  const known = fc.tuple(kinds, u64).map(([kind, rest]) => (kind << 48n) | (rest & 0xffffffffffffn))
  fc.assert(fc.property(u32, value => t.is(parseCommunity(formatCommunity(value)), value)))
  fc.assert(fc.property(fc.oneof(u64, known), v => t.is(parseCommunity(formatExtendedCommunity(v)), v)))
  fc.assert(
    fc.property(u32, u32, u32, (global, local1, local2) =>
      t.deepEqual(parseCommunity(formatLargeCommunity({ global, local1, local2 })), { global, local1, local2 }),
    ),
  )
})

test('communities print as operators write them', t => {
  t.is(formatCommunity(0xfde90064), '65001:100')
  t.is(formatCommunity(0xffffff01), 'no-export')
  t.is(parseCommunity('65535:65281'), 0xffffff01)
  t.is(formatExtendedCommunity(0x0002fde900000064n), 'rt:65001:100')
  t.is(formatExtendedCommunity(0x0103c00002010007n), 'ro:192.0.2.1:7')
  t.is(formatExtendedCommunity(0x0202fa56ea000001n), 'rt:4200000000:1')
  t.is(formatExtendedCommunity(0x4303000000000000n), '0x4303000000000000')
  t.is(formatExtendedCommunity(encapsulation(8)), 'encap:8')
  // RFC 10005: a float, so 100 Gbit/s in octets is exact and one octet more is not
  t.is(formatExtendedCommunity(0x4004fde9503a43b7n), 'bandwidth:65001:12499999744')
  t.is(parseCommunity('bandwidth:65001:1250000000'), 0x4004fde94e9502f9n)
  t.is(formatExtendedCommunity(0x4004fde94e9502f9n), 'bandwidth:65001:1250000000')
})

test('text that is no community is refused', t => {
  for (const text of ['', ':', '1', '1:', '65536:1', '1:65536', '-1:2', '1e3:2', 'no-such', '1:2 '])
    t.is(parseCommunity(text), undefined, text)
  for (const text of ['1:2:4294967296', '1:2:3:4', 'a:b:c']) t.is(parseCommunity(text), undefined, text)
  for (const text of [
    'rt',
    'rt:1',
    'rt:1:4294967296',
    'rt:1.2.3:4',
    'rt:70000:65536',
    'encap:65536',
    'bandwidth:1:0',
    'bandwidth:65536:1',
    '0x12',
    'xx:1:2',
  ])
    t.is(parseCommunity(text), undefined, text)
})

test('only the encapsulation community gives a tunnel type', t => {
  t.is(tunnelType(encapsulation(7)), 7)
  t.is(tunnelType(0x030c000000010008n), 8)
  t.is(tunnelType(0x0002fde900000008n), undefined)
})

test('an extended community leaves the AS only when its T bit allows it', t => {
  t.true(isTransitive(0x0002fde900000064n))
  t.false(isTransitive(0x4004fde900000064n))
})
