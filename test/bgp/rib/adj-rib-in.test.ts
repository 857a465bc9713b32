// What malformed and unwanted UPDATEs cost (RFC 7606), and the prefix limit.
import test from 'ava'
import fc from 'fast-check'
import type { RibPeer } from '../../../bgp/rib/types.ts'
import { ProtocolError } from '../../../bgp/wire/errors.ts'
import { fromHex } from '../../../lib/bytes.ts'
import { anUpdate, aPeer, someAttributes, World } from './sessions.ts'

/** An UPDATE message from the hex of its attributes and its NLRI. */
function raw(attributes: string, nlri = '', withdrawn = ''): Uint8Array {
  const [a, n, w] = [fromHex(attributes), fromHex(nlri), fromHex(withdrawn)]
  const length = 23 + w.length + a.length + n.length
  const u16 = (value: number) => [value >> 8, value & 255]
  return Uint8Array.from([
    ...new Array(16).fill(255),
    ...u16(length),
    2,
    ...u16(w.length),
    ...w,
    ...u16(a.length),
    ...a,
    ...n,
  ])
}

const ORIGIN = '400101 00'
const AS_PATH = '400206 0201 0000fde9'
const NEXT_HOP = '400304 0a000001'
const PREFIX = '18 c00002'

function holding(): { world: World; a: RibPeer; b: RibPeer } {
  const world = new World()
  const [a, b] = [aPeer(1), aPeer(2)]
  world.up(a, b)
  world.feed(a, raw(ORIGIN + AS_PATH + NEXT_HOP, PREFIX))
  world.settle()
  return { world, a, b }
}

const withdraws: readonly [what: string, attributes: string, reason: RegExp][] = [
  ['without ORIGIN', AS_PATH + NEXT_HOP, /ORIGIN is missing/],
  ['without AS_PATH', ORIGIN + NEXT_HOP, /AS_PATH is missing/],
  ['without NEXT_HOP', ORIGIN + AS_PATH, /NEXT_HOP is missing/],
  ['with no attributes', '', /ORIGIN is missing/],
  ['with an ORIGIN of 9', `400101 09${AS_PATH}${NEXT_HOP}`, /origin/],
  ['with AS 0 in the path', `${ORIGIN}400206 0201 00000000${NEXT_HOP}`, /asPath/],
  ['with a NEXT_HOP of 3 octets', `${ORIGIN + AS_PATH}400303 0a0000`, /nextHop/],
  [
    'with an attribute that is longer than the message',
    `${ORIGIN + AS_PATH + NEXT_HOP}c008ff 00`,
    /longer than what is left/,
  ],
  ['with an OTC that has no flags', `${ORIGIN + AS_PATH + NEXT_HOP}002304 0000fde9`, /otc has the flags 0x0/],
  ['with communities of 5 octets', `${ORIGIN + AS_PATH + NEXT_HOP}c00805 0000000000`, /communities/],
]
for (const [what, attributes, reason] of withdraws)
  test(`an UPDATE ${what} withdraws its prefixes and keeps the session`, t => {
    const { world, a, b } = holding()
    t.is(world.held(b).size, 1)
    t.is(world.feed(a, raw(attributes, PREFIX)), undefined)
    world.settle()
    t.is(world.held(b).size, 0)
    t.is(world.rib.counts('p1')!.treatedAsWithdrawn, 1)
    const [event] = world.events
    t.true(event?.type === 'fault' && event.cost === 'withdraw' && reason.test(event.reason), JSON.stringify(event))
    t.is(world.rib.sizes().sets, 0)
  })

test('a malformed attribute that may be discarded is, and the route stays', t => {
  const { world, a, b } = holding()
  // an AGGREGATOR of 3 octets
  t.is(world.feed(a, raw(`${ORIGIN + AS_PATH + NEXT_HOP}c00703 000000`, PREFIX)), undefined)
  world.settle()
  t.is(world.held(b).get('192.0.2.0/24')?.attributes.aggregator, undefined)
  t.is(world.held(b).size, 1)
  t.is(world.rib.counts('p1')!.discarded, 1)
})

test('LOCAL_PREF from an external peer is ignored', t => {
  const { world, a } = holding()
  world.feed(a, raw(`${ORIGIN + AS_PATH + NEXT_HOP}400504 000003e8`, PREFIX))
  world.settle()
  t.is(world.rib.explain('192.0.2.0/24')?.candidates[0]?.attributes.attributes.localPref, undefined)
})

const resets: readonly [what: string, message: Uint8Array, subcode: number][] = [
  ['lengths that do not fit', raw('', '').fill(9, 19, 21), 1],
  ['a prefix of 33 bits', raw(ORIGIN + AS_PATH + NEXT_HOP, '21 0000000000'), 10],
  ['a withdrawn prefix that is cut off', raw('', '', '18 c000'), 10],
  ['an unknown well-known attribute', raw(`${ORIGIN + AS_PATH + NEXT_HOP}407700`, PREFIX), 2],
  ['an unknown attribute without any flags', raw(`${ORIGIN + AS_PATH + NEXT_HOP}007700`, PREFIX), 2],
  ['MP_REACH_NLRI twice', raw(`${'800e0d 0001 01 04 0a000001 00 18 c00002'.repeat(2)}${ORIGIN}${AS_PATH}`), 1],
  ['a next hop of 7 octets for IPv6', raw(`${ORIGIN + AS_PATH}800e0c 0002 01 07 00000000000000 00`), 9],
  ['a malformed attribute and no prefix', raw('400101 09'), 1],
]
for (const [what, message, subcode] of resets)
  test(`an UPDATE with ${what} ends the session with UPDATE Message Error/${subcode}`, t => {
    const { world, a } = holding()
    const error = world.feed(a, message)
    t.true(error instanceof ProtocolError)
    t.deepEqual([error?.code, error?.subcode], [3, subcode])
  })

test('a family that was not agreed on is ignored and reported', t => {
  const world = new World()
  const a = aPeer(1, { families: ['ipv6-unicast'] })
  world.up(a)
  t.is(world.send(a, { announce: ['10.0.0.0/8', '2001:db8::/32'] }), undefined)
  world.settle()
  t.deepEqual([...world.sink.routes.keys()], ['2001:db8::/32'])
  t.is(world.events.length, 1)
})

test('past the prefix limit the error names the family that passed it', t => {
  const world = new World()
  const a = aPeer(1, { config: { asn: 65001, prefixLimit: { max: 1 } } })
  world.up(a)
  const error = world.send(a, { announce: ['2001:db8:1::/48', '2001:db8:2::/48', '10.0.0.0/8'] })
  t.deepEqual([error?.code, error?.subcode, Buffer.from(error!.data).toString('hex')], [6, 1, '00020100000001'])
})

test('a peer is warned about at its share of the limit and past the limit its session ends; nothing more is stored', t => {
  const world = new World()
  const a = aPeer(1, { config: { asn: 65001, prefixLimit: { max: 10, warnPercent: 50 } } })
  world.up(a)
  const prefixes = Array.from({ length: 40 }, (_, i) => `10.${i}.0.0/16`)
  t.is(world.send(a, { announce: prefixes.slice(0, 10) }), undefined)
  t.deepEqual(world.events, [{ type: 'prefix-warning', key: 'p1', family: 'ipv4-unicast', count: 5, max: 10 }])
  t.is(world.send(a, { announce: prefixes.slice(0, 10) }), undefined)
  const error = world.send(a, { announce: prefixes })
  t.deepEqual([error?.code, error?.subcode, [...error!.data]], [6, 1, [0, 1, 1, 0, 0, 0, 10]])
  t.is(world.rib.sizes().prefixes, 11)
})

test('any octets are handled without an exception, and nothing of them is left after the session', t => {
  const a = aPeer(1)
  const good = anUpdate(a, { announce: ['10.0.0.0/8', '2001:db8::/32'], attributes: someAttributes([65001, 5]) })
  const flips = fc.array(fc.tuple(fc.integer({ min: 19, max: good.length - 1 }), fc.nat(255)), { maxLength: 5 })
  const mutated = flips.map(list => {
    const bytes = good.slice()
    for (const [at, value] of list) bytes[at] = value
    return bytes
  })
  const message = fc.oneof(mutated, fc.uint8Array({ minLength: 19, maxLength: 90 }))
  const check = fc.property(fc.array(message, { minLength: 1, maxLength: 12 }), messages => {
    const world = new World()
    world.up(a, aPeer(2), aPeer(3, { session: { as4: false } }))
    for (const message of messages) if (world.feed(a, message) !== undefined) break
    world.settle()
    world.lost(a)
    world.settle()
    const { sets, prefixes, paths } = world.rib.sizes()
    t.deepEqual([sets, prefixes, paths], [0, 0, 0])
  })
  fc.assert(check, { numRuns: 1000 })
})
