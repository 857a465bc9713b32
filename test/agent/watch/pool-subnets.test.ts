// Which IPPools are told to overlap the subnet of a node.
import test from 'ava'
import { poolSubnetConditions } from '../../../agent/watch/pool-subnets.ts'
import { aPool } from '../../datastore/objects.ts'

const pool = (cidr: string, spec: object = {}) => aPool('p', { cidr, ...spec })
const told = (pools: Parameters<typeof poolSubnetConditions>[0]['pools'], reserved: readonly string[] = []) =>
  poolSubnetConditions({ pools, reserved, subnets: ['192.0.2.11/24', '2001:db8::11/64'] })

for (const cidr of ['192.0.0.0/16', '192.0.2.0/24', '192.0.2.128/26', '2001:db8::/48', '2001:db8:0:0:1::/80'])
  test(`an IPPool ${cidr} over the subnet of the node is told, with what to reserve`, t => {
    const [condition, ...others] = told([pool(cidr)])
    t.deepEqual(others, [])
    t.like(condition, { type: 'PoolsDisjoint', reason: 'NodeSubnet', object: { kind: 'IPPool', name: 'p' } })
    t.regex(condition!.remedy, cidr.includes(':') ? /\[2001:db8::\/64\]/ : /\[192\.0\.2\.0\/24\]/)
  })

for (const [what, pools, reserved] of [
  ['a pool elsewhere', [pool('10.244.0.0/16')], []],
  ['a pool around a subnet that is reserved', [pool('192.0.0.0/16')], ['192.0.2.0/24']],
  ['a pool in a subnet whose machines are below it', [pool('192.0.2.128/26')], ['192.0.2.0/25', '192.0.2.128/25']],
  [
    'a pool for containers of the LAN',
    [pool('192.0.2.128/26', { assignmentMode: 'Manual', disableBGPExport: true })],
    [],
  ],
  ['a pool that is disabled', [pool('192.0.2.0/24', { disabled: true })], []],
  ['a pool for load balancers on the LAN', [pool('192.0.2.0/24', { allowedUses: ['LoadBalancer'] })], []],
] as const)
  test(`silent: ${what}`, t => {
    t.deepEqual(told(pools, reserved), [])
  })

test('a part of the subnet that is reserved does not keep pods from the rest of it', t => {
  t.is(told([pool('192.0.0.0/16')], ['192.0.2.0/25']).length, 1)
})
