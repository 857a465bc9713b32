import test from 'ava'
import { type Withheld, withheldAfter, withoutWithheld } from '../../../bgp/fsm/withheld.ts'
import type { Capability } from '../../../bgp/wire/capabilities.ts'
import { fromHex } from '../../../lib/bytes.ts'

const capabilities: readonly Capability[] = [
  { type: 'multiprotocol', afi: 1, safi: 1 },
  { type: 'multiprotocol', afi: 2, safi: 1 },
  { type: 'routeRefresh' },
  { type: 'fourOctetAs', asn: 65001 },
]
const BOTH = ['ipv4-unicast', 'ipv6-unicast'] as const

/** What is left after each of these answers: `subcode` and the data in hex. */
function left(
  answers: readonly (readonly [subcode: number, data?: string])[],
  families: readonly (typeof BOTH)[number][] = BOTH,
) {
  let withheld: Withheld = []
  for (const [subcode, data = ''] of answers)
    withheld =
      withheldAfter(withheld, { code: 2, subcode, data: fromHex(data) }, { capabilities, families }) ?? withheld
  return withoutWithheld(capabilities, withheld).map(each =>
    each.type === 'multiprotocol' ? `afi ${each.afi}` : each.type,
  )
}

const ALL = ['afi 1', 'afi 2', 'routeRefresh', 'fourOctetAs']

test('after Unsupported Optional Parameter the next OPEN has no capabilities, and after another one all again', t => {
  t.deepEqual(left([[4]]), [])
  t.deepEqual(left([[4], [4]]), ALL)
})

test('after Unsupported Capability those that it names are left out, and if that is not enough all', t => {
  t.deepEqual(left([[7, '02 00']]), ['afi 1', 'afi 2', 'fourOctetAs'])
  t.deepEqual(left([[7, '0104 0002 00 01 41 04 0000fde9']]), ['afi 1', 'routeRefresh'])
  t.deepEqual(
    left([
      [7, '02 00'],
      [7, '02 00'],
    ]),
    [],
  )
  t.deepEqual(left([[7, '02 00'], [7]]), [])
  t.deepEqual(left([[7, '02 00'], [7], [7]]), ALL)
})

test('a capability with another value is meant, too, but not another family', t => {
  t.deepEqual(left([[7, '41 04 00000001']]), ['afi 1', 'afi 2', 'routeRefresh'])
  t.deepEqual(left([[7, '0104 0019 00 41']]), [], 'names nothing of ours')
})

test('cut off or empty data count as data that names nothing', t => {
  for (const data of ['', '02', '41 ff 00']) t.true(left([[7, data]]).length < ALL.length)
})

test('other errors withhold nothing', t => {
  for (const subcode of [1, 2, 3, 5, 6, 11]) t.deepEqual(left([[subcode]]), ALL)
})

test('what would leave no family of ours is not withheld', t => {
  t.deepEqual(left([[4]], ['ipv6-unicast']), ALL)
  t.deepEqual(left([[7, '0104 0002 00 01']], ['ipv6-unicast']), ALL)
})
