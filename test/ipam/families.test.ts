import test from 'ava'
import { familiesOf } from '../../ipam/families.ts'
import type { AssignRefusal } from '../../ipam/port.ts'

const refusal = (refused: AssignRefusal['refused'], message: string): AssignRefusal => ({
  refused,
  message,
  remedy: '',
})

test('a family that no pool serves is left out, one of which that cannot be told yet refuses the whole request', t => {
  const auto = { families: [], ifServed: ['ipv4', 'ipv6'] } as const
  const of = (six: AssignRefusal | undefined) => familiesOf(auto, [], family => (family === 'ipv6' ? six : undefined))
  t.deepEqual(of(undefined), ['ipv4', 'ipv6'])
  t.deepEqual(of(refusal('no-pool', 'none')), ['ipv4'])
  t.deepEqual(of(refusal('unreachable', 'unknown')), refusal('unreachable', 'unknown'))
})
