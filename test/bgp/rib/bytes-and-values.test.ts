// The two fast paths on octets against the codecs: what is called plain has no fault, its facts are those of its values,
// and its byte-level export says the same as the export by value.
import test from 'ava'
import fc from 'fast-check'
import { Policy } from '../../../bgp/policy.ts'
import { admit, plainRulesFor } from '../../../bgp/rib/in/admission.ts'
import { newFacts, readFacts } from '../../../bgp/rib/in/read-facts.ts'
import { advertise, targetOf } from '../../../bgp/rib/out/advertisement.ts'
import { ByteExport } from '../../../bgp/rib/out/export-bytes.ts'
import { SharedLink } from '../../../bgp/rib/out/shared-link.ts'
import { speakerNumbers } from '../../../bgp/rib/speaker-numbers.ts'
import { emitSet, factsOf, parseSet, type RouteAttributes } from '../../../bgp/rib/store/attribute-set.ts'
import type { ExportSource, RibPeer } from '../../../bgp/rib/types.ts'
import type { Attributes } from '../../../bgp/wire/attribute-values.ts'
import { parseAttributes } from '../../../bgp/wire/attributes.ts'
import { COMMUNITY, SEGMENT } from '../../../bgp/wire/iana.ts'
import { judge } from '../../../bgp/wire/update.ts'
import { Writer } from '../../../lib/bytes.ts'
import { addressBytes } from '../../../lib/ip.ts'
import { describe } from './naive.ts'
import { aPeer, OUR_AS } from './sessions.ts'

const speaker = speakerNumbers({ asn: OUR_AS, routerId: '10.0.0.254' })
const u32 = fc.integer({ min: 1, max: 0xffffffff })
/** Present one time in `1 + absent`. */
const maybe = <T>(arbitrary: fc.Arbitrary<T>, absent = 1) =>
  fc.oneof({ weight: 1, arbitrary }, { weight: absent, arbitrary: fc.constant(undefined) })
const asn = fc.oneof({ weight: 1, arbitrary: fc.constant(OUR_AS) }, { weight: 30, arbitrary: u32 })
const segment = fc.record({
  type: fc.constantFrom(...new Array<number>(9).fill(SEGMENT.sequence), SEGMENT.set, SEGMENT.confedSequence),
  asns: fc.array(asn, { minLength: 1, maxLength: 4 }),
})
const tail = fc.array(segment, { maxLength: 2 })
const community = fc.oneof(fc.constantFrom(...Object.values(COMMUNITY)), u32)

/** Sets as peers send them, nearly all of them acceptable from a peer in AS 65001. */
const someSet: fc.Arbitrary<RouteAttributes> = fc
  .record({
    origin: fc.nat(2),
    path: fc.oneof(
      { weight: 4, arbitrary: tail.map(rest => [{ type: SEGMENT.sequence as number, asns: [OUR_AS + 1] }, ...rest]) },
      tail,
    ),
    nextHop: fc.oneof({ weight: 5, arbitrary: fc.constant(0x0a000001) }, u32),
    med: maybe(u32),
    localPref: maybe(u32, 3),
    atomicAggregate: maybe(fc.constant(true as const)),
    aggregator: maybe(fc.record({ asn: u32, address: u32 })),
    communities: maybe(fc.array(community, { minLength: 1, maxLength: 80 })),
    originatorId: maybe(u32, 4),
    clusterList: maybe(fc.array(u32, { minLength: 1, maxLength: 3 }), 4),
    extendedCommunities: maybe(fc.array(fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }), { minLength: 1, maxLength: 2 })),
    largeCommunities: maybe(
      fc.array(fc.record({ global: u32, local1: u32, local2: u32 }), { minLength: 1, maxLength: 2 }),
    ),
    otc: maybe(u32, 9),
    mp: fc.boolean(),
  })
  .map(({ path, mp, nextHop, ...rest }) => {
    const attributes: Attributes = { ...rest, asPath: path }
    if (!mp) return { attributes: { ...attributes, nextHop } }
    return { attributes, mpNextHop: Uint8Array.from([0x20, 1, 0x0d, 0xb8, ...new Array(11).fill(0), 1]) }
  })

const familyOf = ({ mpNextHop }: RouteAttributes) => (mpNextHop === undefined ? 'ipv4-unicast' : 'ipv6-unicast')

function bytesOf(set: RouteAttributes): Uint8Array {
  const w = new Writer(8192)
  emitSet(w, set, familyOf(set))
  return w.done().slice()
}

const peers: readonly RibPeer[] = [aPeer(1), aPeer(1, { peerType: 'ibgp' })]

/** What the codecs say to stored octets: acceptable as they are, or not, also because of what would become of them. */
function accepts(bytes: Uint8Array, peer: RibPeer, mp: boolean): boolean {
  const parsed = parseAttributes(bytes, 0, bytes.length, { ...peer.receive, extendedNextHop: true })
  if (parsed.faults.length > 0 || judge(parsed, mp ? 'mp' : 'nlri') !== undefined) return false
  const set = { attributes: parsed.attributes, mpNextHop: parsed.mpReach?.nextHop }
  const admission = admit(set, peer, speaker)
  return 'set' in admission && admission.set === set
}

test('a plain set has no fault, and its facts are those of its parsed values', t => {
  let plain = 0
  const check = fc.property(someSet, fc.constantFrom(...peers), (set, peer) => {
    const bytes = bytesOf(set)
    const facts = newFacts()
    const plainRules = { ...plainRulesFor(peer, speaker)!, multiprotocol: set.mpNextHop !== undefined }
    if (!readFacts(bytes, 0, bytes.length, plainRules, facts)) return
    plain++
    t.true(accepts(bytes, peer, set.mpNextHop !== undefined))
    const { flags, ...rest } = factsOf(parseSet(bytes))
    t.deepEqual({ ...facts, flags: facts.flags & ~32 }, { ...rest, flags: flags & ~32 })
  })
  fc.assert(check, { numRuns: 3000 })
  t.true(plain > 300, `${plain} plain sets`)
})

test('a set with randomly changed octets is plain only when the codecs find no fault in it', t => {
  const flip = fc.tuple(fc.nat(200), fc.nat(255))
  const check = fc.property(
    someSet,
    fc.constantFrom(...peers),
    fc.array(flip, { minLength: 1, maxLength: 3 }),
    (set, peer, flips) => {
      const bytes = bytesOf(set)
      const mp = set.mpNextHop !== undefined
      // the multiprotocol next hop is written by the RIB itself
      const first = mp ? 24 : 0
      for (const [at, value] of flips) bytes[first + (at % (bytes.length - first))] = value
      const plainRules = { ...plainRulesFor(peer, speaker)!, multiprotocol: mp }
      if (readFacts(bytes, 0, bytes.length, plainRules, newFacts())) t.true(accepts(bytes, peer, mp))
    },
  )
  fc.assert(check, { numRuns: 5000 })
})

const targets: readonly RibPeer[] = [
  aPeer(2),
  aPeer(2, { config: { nextHop: 'keep' } }),
  aPeer(2, { connected: ['10.0.0.0/24', '2001:db8::/64'] }),
  aPeer(3, { peerType: 'ibgp', config: { reflectorClient: true } }),
  aPeer(3, { peerType: 'ibgp', config: { nextHop: 'self' } }),
]

test('exporting a plain set on octets gives the same as exporting its values', t => {
  let rewritten = 0
  const check = fc.property(
    someSet,
    fc.constantFrom(...peers),
    fc.constantFrom(...targets),
    fc.constantFrom(addressBytes('10.0.0.1'), addressBytes('10.0.0.9')),
    (set, peer, to, address) => {
      const bytes = bytesOf(set)
      const facts = newFacts()
      const plainRules = { ...plainRulesFor(peer, speaker)!, multiprotocol: set.mpNextHop !== undefined }
      if (!readFacts(bytes, 0, bytes.length, plainRules, facts)) return
      const target = targetOf(to, familyOf(set))
      const link = target.connected && new SharedLink(target.connected)
      link?.join('10.0.0.1')
      const policy = new Policy('accept', { external: true })
      const source: ExportSource = { local: false, peerType: peer.peerType, client: true, routerId: 77, address }
      const out = new Uint8Array(8192).fill(0xa5)
      const length = ByteExport.for(target, policy, speaker, link)!.rewrite(
        bytes,
        0,
        bytes.length,
        facts.flags,
        source,
        out,
      )
      if (length < 0) return
      rewritten++
      const prefix = { octets: new Uint8Array(4), length: 24 }
      const slow = advertise(parseSet(bytes), source, target, policy, speaker, prefix, link)
      if (!('set' in slow)) return t.fail('withheld by value')
      t.is(describe(parseSet(out.slice(0, length))), describe(slow.set))
      t.is(out[length], 0xa5)
    },
  )
  fc.assert(check, { numRuns: 3000 })
  t.true(rewritten > 200, `${rewritten} sets rewritten`)
})
