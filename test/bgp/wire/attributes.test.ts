// The table of attributes, row by row, with values from its own generators.
import test from 'ava'
import fc from 'fast-check'
import { attributeRows } from '../../../bgp/wire/attribute-rows.ts'
import type { Attributes } from '../../../bgp/wire/attribute-values.ts'
import { emitAttributes, parseAttributes } from '../../../bgp/wire/attributes.ts'
import { isUsableNextHop } from '../../../bgp/wire/multiprotocol.ts'
import {
  emitEndOfRib,
  endOfRib,
  MpOffsets,
  scanAttributes,
  splitUpdate,
  UpdateOffsets,
} from '../../../bgp/wire/update.ts'
import { fromHex, toHex } from '../../../lib/bytes.ts'
import { addressBytes } from '../../../lib/ip.ts'
import { attributeValues } from './arbitraries.ts'
import { aSession, body, emitted, plain } from './wire.ts'

const ibgp = aSession({ peerType: 'ibgp' })
const alone = (attributes: Attributes) => emitted(w => emitAttributes(w, attributes, ibgp))

for (const [name, values] of Object.entries(attributeValues(ibgp))) {
  if (name === 'partial') continue
  test(`${name}: a random value alone is written and read as itself`, t => {
    fc.assert(
      fc.property(values as fc.Arbitrary<never>, value => {
        const bytes = alone({ [name]: value })
        const parsed = parseAttributes(bytes, 0, bytes.length, ibgp)
        t.deepEqual(plain({ ...parsed.attributes }), plain({ [name]: value }))
        t.deepEqual(parsed.faults, [])
      }),
    )
  })
  test(`${name}: every truncation is a fault and no exception`, t => {
    fc.assert(
      fc.property(values as fc.Arbitrary<never>, value => {
        const bytes = alone({ [name]: value })
        for (let cut = 1; cut < Math.min(bytes.length, 40); cut++) {
          const { cost, faults } = parseAttributes(bytes.slice(0, cut), 0, cut, ibgp)
          // a list of unknown ones can end between two of them
          if (name === 'unknown') t.not(cost, 'reset')
          else t.is(cost, 'withdraw', JSON.stringify(faults))
        }
      }),
      { numRuns: 20 },
    )
  })
}

/** One attribute with these flags, whatever its row says. */
function rawAttribute(flags: number, code: number, value: Uint8Array = new Uint8Array(0)): Uint8Array {
  return emitted(w => emitAttributes(w, { unknown: [{ code, flags, value }] }, ibgp))
}

for (const [name, row] of Object.entries(attributeRows)) {
  test(`${name}: wrong flags cost what the row says`, t => {
    for (const wrong of [0x80, 0x40, 0xc0]) {
      const bytes = rawAttribute(row.flags ^ wrong, row.code)
      const { cost, faults } = parseAttributes(bytes, 0, bytes.length, aSession({ peerType: 'ibgp', as4: false }))
      t.is(faults[0]?.cost, row.ifFlagsWrong)
      t.is(cost, row.ifMalformed === 'reset' ? 'reset' : row.ifFlagsWrong)
    }
  })
  test(`${name}: a second one is ignored, or ends the session when it carries prefixes`, t => {
    const value = name === 'mpReach' ? '0001 85 00 00' : name === 'mpUnreach' ? '0001 85' : ''
    const one = rawAttribute(row.flags, row.code, fromHex(value))
    const { faults } = parseAttributes(Buffer.concat([one, one]), 0, 2 * one.length, ibgp)
    t.is(faults.at(-1)?.reason, `attribute ${row.code} occurs twice`)
    t.is(faults.at(-1)?.cost, row.ifMalformed === 'reset' ? 'reset' : 'discard')
  })
}

test('a value of more than 255 octets has the extended length, a value of 255 octets has not', t => {
  for (const [size, head] of [
    [255, 'c063ff'],
    [256, 'd0630100'],
  ] as const) {
    const bytes = alone({ unknown: [{ code: 0x63, flags: 0xc0, value: new Uint8Array(size) }] })
    t.is(toHex(bytes.subarray(0, head.length / 2)), head)
    t.is(bytes.length, head.length / 2 + size)
  }
})

test('addresses that no host can have are no usable next hops', t => {
  const verdict = (...addresses: string[]) => isUsableNextHop(Buffer.concat(addresses.map(addressBytes)))
  for (const good of ['10.0.0.1', '1.0.0.0', '223.255.255.255', '2001:db8::1', 'fe80::1', '::2'])
    t.true(verdict(good), good)
  for (const bad of ['0.0.0.0', '0.1.2.3', '127.0.0.1', '224.0.0.1', '255.255.255.255', '::', '::1', 'ff02::1'])
    t.false(verdict(bad), bad)
  t.true(verdict('2001:db8::1', 'fe80::1'))
  t.true(verdict('::', 'fe80::1'))
  t.false(verdict('::', '::'))
  t.false(verdict('ff02::1', 'fe80::1'))
})

test('the End-of-RIB of each family is recognised, and nothing else is', t => {
  const at = new UpdateOffsets()
  const verdict = (bytes: Uint8Array) => {
    const { bytes: chunk, start, end } = body(bytes)
    t.is(splitUpdate(chunk, start, end, at), undefined)
    return endOfRib(chunk, at)
  }
  for (const family of [
    { afi: 1, safi: 1 },
    { afi: 2, safi: 1 },
    { afi: 1, safi: 133 },
  ])
    t.deepEqual(verdict(emitted(w => emitEndOfRib(w, family))), family)
  const head = `${'ff'.repeat(16)}`
  t.deepEqual(verdict(fromHex(`${head} 001e 02 0000 0007 90 0f 0003 0002 01`)), { afi: 2, safi: 1 })
  t.is(
    verdict(fromHex(`${head} 001f 02 0000 0008 80 0f 05 0002 01 0020`.replace('05 0002 01 0020', '05 0002 01 00 20'))),
    undefined,
  )
  t.is(verdict(fromHex(`${head} 001d 02 0000 0006 80 0e 03 0002 01`)), undefined)
})

test('the scan finds the multiprotocol attributes among others and refuses bad framing', t => {
  const mp = new MpOffsets()
  const bytes = fromHex('40 01 01 00  80 0e 05 0001 85 00 00  40 02 00  90 0f 0003 0001 85')
  t.true(scanAttributes(bytes, 0, bytes.length, mp))
  t.deepEqual([mp.reach, mp.reachValue, mp.reachEnd], [4, 7, 12])
  t.deepEqual([mp.unreach, mp.unreachValue, mp.unreachEnd], [15, 19, 22])
  t.true(scanAttributes(bytes, 0, 4, mp))
  t.deepEqual([mp.reach, mp.unreach], [-1, -1])
  for (const bad of ['40', '40 01', '40 01 02 00', '50 01 00', '80 0f 00 80 0f 00', 'c0 0e 00', '40 0f 00'])
    t.false(scanAttributes(fromHex(bad), 0, fromHex(bad).length, mp), bad)
})
