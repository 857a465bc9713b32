// MRT and BMP: goldens both ways, cut short, bytewise, random values.
import test from 'ava'
import fc from 'fast-check'
import {
  BMP_DOWN,
  BMP_INFORMATION,
  BMP_LOC_RIB,
  type BmpMessage,
  bmpSplitter,
  bmpText,
  emitBmp,
  parseBmp,
} from '../../../bgp/wire/bmp.ts'
import { emitMrt, type MrtRecord, mrtSplitter, parseMrt } from '../../../bgp/wire/mrt.ts'
import { fromHex, toHex } from '../../../lib/bytes.ts'
import { bmpMessage, mrtRecord } from './record-arbitraries.ts'
import { emitted, plain } from './wire.ts'

const keepalive = `${'ff'.repeat(16)} 0013 04`
const session = { peerAs: 4200000000, localAs: 65001, interfaceIndex: 0, as4: true }

const mrtGoldens: readonly { name: string; hex: string; value: MrtRecord }[] = [
  {
    name: 'a message between four-octet speakers',
    hex: `57acb180 0010 0004 00000027 fa56ea00 0000fde9 0000 0001 0a4d0002 0a4d0001 ${keepalive}`,
    value: {
      ...{ seconds: 0x57acb180, kind: 'message', ...session, peerAddress: '10.77.0.2', localAddress: '10.77.0.1' },
      ...{ fromUs: false, addPath: false, message: fromHex(keepalive) },
    },
  },
  {
    name: 'a message we sent, with path ids and microseconds, between IPv6 addresses',
    hex: `57acb180 0011 000b 00000043 0007a120 fa56ea00 0000fde9 0000 0002 ${'20010db8000000000000000000000002'}
          ${'20010db8000000000000000000000001'} ${keepalive}`,
    value: {
      ...{ seconds: 0x57acb180, microseconds: 500_000, kind: 'message', ...session },
      ...{ peerAddress: '2001:db8::2', localAddress: '2001:db8::1', fromUs: true, addPath: true },
      message: fromHex(keepalive),
    },
  },
  {
    name: 'a state change',
    hex: '57acb180 0010 0000 00000014 fdea fde9 0000 0001 0a4d0002 0a4d0001 0006 0001',
    value: {
      ...{ seconds: 0x57acb180, kind: 'state', peerAs: 65002, localAs: 65001, interfaceIndex: 0, as4: false },
      ...{ peerAddress: '10.77.0.2', localAddress: '10.77.0.1', from: 6, to: 1 },
    },
  },
  {
    name: 'a peer index table',
    hex: `57acb180 000d 0001 00000031 0a4d0009 0003 6c6162 0002
          02 0a4d0002 0a4d0002 0000fdea  03 0a4d0003 20010db8000000000000000000000003 fa56ea00`,
    value: {
      ...{ seconds: 0x57acb180, kind: 'peers', collectorId: 0x0a4d0009, view: 'lab' },
      peers: [
        { routerId: 0x0a4d0002, address: '10.77.0.2', asn: 65002 },
        { routerId: 0x0a4d0003, address: '2001:db8::3', asn: 4200000000 },
      ],
    },
  },
  {
    name: 'two paths of an IPv4 prefix',
    hex: `57acb180 000d 0002 0000003b 00000007 18 cb0071 0002
          0000 57acb000 0014 40010100 4002060201 0000fdea 400304 0a4d0002
          0001 57acb001 000d 40010102 4002060201 0000fdeb`,
    value: {
      ...{ seconds: 0x57acb180, kind: 'rib', sequence: 7, prefix: '203.0.113.0/24' },
      entries: [
        {
          ...{ peer: 0, originatedSeconds: 0x57acb000, faults: [] },
          attributes: { origin: 0, asPath: [{ type: 2, asns: [65002] }], nextHop: 0x0a4d0002 },
        },
        {
          ...{ peer: 1, originatedSeconds: 0x57acb001, faults: [] },
          attributes: { origin: 2, asPath: [{ type: 2, asns: [65003] }] },
        },
      ],
    },
  },
  {
    name: 'an IPv6 prefix with a path id and a shortened next hop',
    hex: `57acb180 000d 000a 00000038 00000008 20 20010db8 0001 0000 57acb000 00000005 0021
          800e 11 10 20010db8000000000000000000000002 40010100 4002060201 0000fdea`,
    value: {
      ...{ seconds: 0x57acb180, kind: 'rib', sequence: 8, prefix: '2001:db8::/32' },
      entries: [
        {
          ...{ peer: 0, originatedSeconds: 0x57acb000, pathId: 5, faults: [] },
          attributes: { origin: 0, asPath: [{ type: 2, asns: [65002] }] },
          mpNextHop: fromHex('20010db8000000000000000000000002'),
        },
      ],
    },
  },
]

const peer = {
  ...{ kind: 0, distinguisher: 0n, address: '10.77.0.2', asn: 65002, routerId: 0x0a4d0002 },
  ...{ postPolicy: false, as2: false, ribOut: false, filtered: false, seconds: 0x57acb180, microseconds: 1 },
}
const peerHex = `00 00 0000000000000000 000000000000000000000000 0a4d0002 0000fdea 0a4d0002 57acb180 00000001`

const bmpGoldens: readonly { name: string; hex: string; value: BmpMessage }[] = [
  {
    name: 'initiation',
    hex: '03 00000017 04 0001 0006 4d6172676179 0002 0003 727231',
    value: {
      kind: 'initiation',
      information: [bmpText(BMP_INFORMATION.description, 'Margay'), bmpText(BMP_INFORMATION.name, 'rr1')],
    },
  },
  {
    name: 'termination',
    hex: '03 0000000c 05 0001 0002 0000',
    value: { kind: 'termination', information: [{ type: 1, value: fromHex('0000') }] },
  },
  {
    name: 'route monitoring',
    hex: `03 00000043 00 ${peerHex} ${keepalive}`,
    value: { kind: 'routeMonitoring', peer, update: fromHex(keepalive) },
  },
  {
    name: 'peer down',
    hex: `03 00000046 02 ${peerHex} 03 ${'ff'.repeat(16)} 0015 03 0602`,
    value: {
      ...{ kind: 'peerDown', peer, reason: BMP_DOWN.remoteNotification },
      data: fromHex(`${'ff'.repeat(16)} 0015 03 0602`),
    },
  },
  {
    name: 'peer up over IPv6, after policy',
    hex: `03 0000006a 03 00 c0 0000000000000000 20010db8000000000000000000000002 0000fdea 0a4d0002 57acb180 00000001
          20010db8000000000000000000000001 00b3 c001 ${keepalive} ${keepalive}`,
    value: {
      kind: 'peerUp',
      peer: { ...peer, address: '2001:db8::2', postPolicy: true },
      ...{ localAddress: '2001:db8::1', localPort: 179, remotePort: 49153, information: [] },
      ...{ sentOpen: fromHex(keepalive), receivedOpen: fromHex(keepalive) },
    },
  },
  {
    name: 'route monitoring of what is sent, after policy (RFC 8671)',
    hex: `03 00000043 00 00 50 ${peerHex.slice(6)} ${keepalive}`,
    value: {
      ...{ kind: 'routeMonitoring', peer: { ...peer, postPolicy: true, ribOut: true } },
      update: fromHex(keepalive),
    },
  },
  {
    name: 'route monitoring of a Loc-RIB that is not told whole (RFC 9069)',
    hex: `03 00000043 00 03 80 0000000000000000 ${'00'.repeat(16)} 0000fdea 0a4d0002 57acb180 00000001 ${keepalive}`,
    value: {
      ...{ kind: 'routeMonitoring', peer: { ...peer, kind: BMP_LOC_RIB, address: '0.0.0.0', filtered: true } },
      update: fromHex(keepalive),
    },
  },
  {
    name: 'a stats report',
    hex: `03 00000057 01 ${peerHex} 00000003 0000 0004 00000005 0007 0008 00000000000f4240
          0009 000b 0001 01 0000000000000007`,
    value: {
      ...{ kind: 'statsReport', peer },
      stats: [
        { type: 0, counter: 5 },
        { type: 7, gauge: 1_000_000n },
        { type: 9, afi: 1, safi: 1, gauge: 7n },
      ],
    },
  },
]

const formats = [
  ...mrtGoldens.map(g => ({ ...g, format: 'MRT', parse: parseMrt, emitted: emitted(w => emitMrt(w, g.value)) })),
  ...bmpGoldens.map(g => ({ ...g, format: 'BMP', parse: parseBmp, emitted: emitted(w => emitBmp(w, g.value)) })),
]
for (const { format, name, hex, value, parse, emitted: written } of formats) {
  test(`${format}, ${name}: the bytes are the value, both ways`, t => {
    const bytes = fromHex(hex)
    t.deepEqual(plain(parse(bytes, 0, bytes.length)), plain(value))
    t.is(toHex(written), toHex(bytes))
  })
  test(`${format}, ${name}: every record cut short is unread or a shorter value, never an exception`, t => {
    const bytes = fromHex(hex)
    for (let cut = 0; cut < bytes.length; cut++) t.notThrows(() => parse(bytes.slice(0, cut), 0, cut))
  })
}

test('a stream of MRT records, bytewise or at once, is the same records, and an unknown one is skipped', t => {
  const strange = fromHex('57acb180 0030 0000 00000002 beef')
  const stream = Buffer.concat([
    ...mrtGoldens.map(g => fromHex(g.hex)),
    strange,
    ...mrtGoldens.map(g => fromHex(g.hex)),
  ])
  for (const size of [1, 11, 12, 13, stream.length]) {
    const found: MrtRecord[] = []
    const splitter = mrtSplitter()
    for (let at = 0; at < stream.length; at += size)
      t.is(
        splitter.push(stream.subarray(at, at + size), (b, start, end) => found.push(parseMrt(b, start, end))),
        undefined,
      )
    t.is(found.length, 2 * mrtGoldens.length + 1)
    t.is(found[mrtGoldens.length]!.kind, 'unread')
    t.deepEqual(plain(found.slice(0, mrtGoldens.length)), plain(mrtGoldens.map(g => g.value)))
  }
})

test('a whole MP_REACH_NLRI in a table dump, as old collectors wrote it, gives its next hop', t => {
  const attributes = '800e 1a 0002 01 10 20010db8000000000000000000000002 00 20 20010db8 40010100 400200'
  const hex = `57acb180 000d 0004 00000037 00000008 20 20010db8 0001 0000 57acb000 0024 ${attributes}`
  const bytes = fromHex(hex)
  const record = parseMrt(bytes, 0, bytes.length)
  t.is(record.kind, 'rib')
  if (record.kind !== 'rib') return
  t.is(toHex(record.entries[0]!.mpNextHop!), '20010db8000000000000000000000002')
  t.deepEqual(record.entries[0]!.faults, [])
})

test('an impossible record length ends the stream before memory is allocated for it', t => {
  t.true(mrtSplitter().push(fromHex('57acb180 000d 0002 ffffffff'), () => t.fail()) instanceof RangeError)
  t.true(bmpSplitter().push(fromHex('03 ffffffff 00'), () => t.fail()) instanceof RangeError)
  t.true(bmpSplitter().push(fromHex('03 00000005 00'), () => t.fail()) instanceof RangeError)
  t.true(bmpSplitter().push(fromHex('01 00000006 00'), () => t.fail()) instanceof RangeError)
})

test('random MRT records and BMP messages are the same after being written and read', t => {
  fc.assert(
    fc.property(mrtRecord, value => {
      const bytes = emitted(w => emitMrt(w, value))
      t.deepEqual(plain(parseMrt(bytes, 0, bytes.length)), plain(value))
    }),
  )
  fc.assert(
    fc.property(bmpMessage, value => {
      const bytes = emitted(w => emitBmp(w, value))
      t.deepEqual(plain(parseBmp(bytes, 0, bytes.length)), plain(value))
    }),
  )
})
