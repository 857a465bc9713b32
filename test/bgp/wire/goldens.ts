// Whole messages in bytes and in values, written by hand from the RFCs; tests run them both ways and fuzzers mutate them.
import type { CodecSession } from '../../../bgp/wire/codec-session.ts'
import type { Notification } from '../../../bgp/wire/notification.ts'
import type { Open } from '../../../bgp/wire/open.ts'
import type { RouteRefresh } from '../../../bgp/wire/route-refresh.ts'
import type { Update } from '../../../bgp/wire/update.ts'
import { fromHex } from '../../../lib/bytes.ts'
import { aMessage, anUpdate, aSession } from './wire.ts'

type Golden<T> = { name: string; bytes: Uint8Array; value: T }

export const opens: readonly Golden<Open>[] = [
  {
    name: 'no capabilities',
    bytes: aMessage(1, '04 fde9 005a 0a4d0001 00'),
    value: { asn: 65001, holdTime: 90, routerId: 0x0a4d0001, capabilities: [] },
  },
  {
    name: 'every capability',
    bytes: aMessage(
      1,
      `04 5ba0 0000 c0000201 5a 02 58
       01 04 0001 00 01  01 04 0002 00 01  02 00  46 00  06 00  09 01 03
       41 04 fa56ea00  05 06 0001 0001 0002  45 04 0001 01 03
       40 0a c078 0001 01 80 0002 01 00
       47 07 0001 01 80 015180
       49 07 02 6e31 03 6c6162
       4b 05 04 6d2e3031
       99 02 beef  99 00
       40 02 4000`,
    ),
    value: {
      asn: 4200000000,
      holdTime: 0,
      routerId: 0xc0000201,
      capabilities: [
        { type: 'multiprotocol', afi: 1, safi: 1 },
        { type: 'multiprotocol', afi: 2, safi: 1 },
        { type: 'routeRefresh' },
        { type: 'enhancedRouteRefresh' },
        { type: 'extendedMessage' },
        { type: 'role', role: 3 },
        { type: 'fourOctetAs', asn: 4200000000 },
        { type: 'extendedNextHop', entries: [{ afi: 1, safi: 1, nextHopAfi: 2 }] },
        { type: 'addPath', entries: [{ afi: 1, safi: 1, mode: 3 }] },
        {
          type: 'gracefulRestart',
          restarting: true,
          notification: true,
          restartSeconds: 120,
          families: [
            { afi: 1, safi: 1, forwarding: true },
            { afi: 2, safi: 1, forwarding: false },
          ],
        },
        { type: 'longLived', entries: [{ afi: 1, safi: 1, forwarding: true, staleSeconds: 86400 }] },
        { type: 'hostname', hostname: 'n1', domain: 'lab' },
        { type: 'softwareVersion', version: 'm.01' },
        { type: 'unknown', code: 0x99, value: fromHex('beef') },
        { type: 'unknown', code: 0x99, value: fromHex('') },
        { type: 'gracefulRestart', restarting: false, notification: true, restartSeconds: 0, families: [] },
      ],
    },
  },
  {
    name: 'the long form of RFC 9072',
    bytes: aMessage(1, `04 fde9 00b4 0a4d0001 ff ff 0105 02 0102 80 fa ${'00'.repeat(250)} 81 04 01020304`),
    value: {
      asn: 65001,
      holdTime: 180,
      routerId: 0x0a4d0001,
      capabilities: [
        { type: 'unknown', code: 0x80, value: new Uint8Array(250) },
        { type: 'unknown', code: 0x81, value: fromHex('01020304') },
      ],
    },
  },
]

export const notifications: readonly Golden<Notification>[] = [
  { name: 'bad peer AS', bytes: aMessage(3, '02 02'), value: { code: 2, subcode: 2, data: new Uint8Array(0) } },
  {
    name: 'a shutdown with a text',
    bytes: aMessage(3, '06 02 05 72 61 63 6b 73'),
    value: { code: 6, subcode: 2, data: fromHex('057261636b73') },
  },
]

export const routeRefreshes: readonly Golden<RouteRefresh>[] = [
  { name: 'a request', bytes: aMessage(5, '0001 00 01'), value: { afi: 1, safi: 1, subtype: 0 } },
  { name: 'the end of a refresh', bytes: aMessage(5, '0002 02 01'), value: { afi: 2, safi: 1, subtype: 2 } },
]

export const updates: readonly (Golden<Update> & { session: CodecSession })[] = [
  {
    name: 'three prefixes',
    session: aSession(),
    bytes: anUpdate({
      attributes: '40 01 01 00  40 02 0a 02 02 0000fde9 fa56ea00  40 03 04 0a000002  80 04 04 00000064',
      nlri: '18 cb0071  00  20 c0000263',
    }),
    value: {
      withdrawn: [],
      attributes: { origin: 0, asPath: [{ type: 2, asns: [65001, 4200000000] }], nextHop: 0x0a000002, med: 100 },
      nlri: [{ prefix: '203.0.113.0/24' }, { prefix: '0.0.0.0/0' }, { prefix: '192.0.2.99/32' }],
    },
  },
  {
    name: 'a withdrawal',
    session: aSession(),
    bytes: anUpdate({ withdrawn: '18 cb0071 11 0a0080' }),
    value: {
      withdrawn: [{ prefix: '203.0.113.0/24' }, { prefix: '10.0.128.0/17' }],
      attributes: {},
      nlri: [],
    },
  },
  {
    name: 'four-octet numbers through an old speaker',
    session: aSession({ as4: false }),
    bytes: anUpdate({
      attributes: `40 01 01 02  40 02 06 02 02 fde9 5ba0  40 03 04 0a000002  c0 07 06 5ba0 0a4d0001
                   c0 11 0a 02 02 0000fde9 fa56ea00  c0 12 08 fa56ea00 0a4d0001`,
      nlri: '08 0a',
    }),
    value: {
      withdrawn: [],
      attributes: {
        origin: 2,
        asPath: [{ type: 2, asns: [65001, 4200000000] }],
        nextHop: 0x0a000002,
        aggregator: { asn: 4200000000, address: 0x0a4d0001 },
      },
      nlri: [{ prefix: '10.0.0.0/8' }],
    },
  },
  {
    name: 'every attribute of a reflected route, with path ids',
    session: aSession({ peerType: 'ibgp', addPath: { ipv4: true, ipv6: false } }),
    bytes: anUpdate({
      attributes: `40 01 01 01  40 02 10 03 01 0000fdea 01 02 00000001 00000002  40 03 04 0a000002  80 04 04 00000000
                   40 05 04 00000064  40 06 00  e0 07 08 0000fde9 0a4d0001  c0 08 08 fde90001 ffffff01
                   80 09 04 0a4d0009  80 0a 08 0a4d0001 0a4d0002  c0 10 08 030c000000000007
                   c0 17 08 0008 0004 04 02 0102  c0 20 0c 0000fde9 00000001 00000002  c0 23 04 0000fde9
                   e0 63 02 beef`,
      nlri: '00000007 18 cb0071  00000008 18 cb0071',
    }),
    value: {
      withdrawn: [],
      attributes: {
        origin: 1,
        asPath: [
          { type: 3, asns: [65002] },
          { type: 1, asns: [1, 2] },
        ],
        nextHop: 0x0a000002,
        med: 0,
        localPref: 100,
        atomicAggregate: true,
        aggregator: { asn: 65001, address: 0x0a4d0001 },
        communities: [0xfde90001, 0xffffff01],
        originatorId: 0x0a4d0009,
        clusterList: [0x0a4d0001, 0x0a4d0002],
        extendedCommunities: [0x030c000000000007n],
        tunnelEncap: fromHex('0008000404020102'),
        largeCommunities: [{ global: 65001, local1: 1, local2: 2 }],
        otc: 65001,
        unknown: [{ code: 0x63, flags: 0xe0, value: fromHex('beef') }],
        partial: [7],
      },
      nlri: [
        { prefix: '203.0.113.0/24', pathId: 7 },
        { prefix: '203.0.113.0/24', pathId: 8 },
      ],
    },
  },
  {
    name: 'IPv6 with a global and a link-local next hop',
    session: aSession(),
    bytes: anUpdate({
      attributes: `80 0e 2d 0002 01 20 20010db8000000000000000000000001 fe800000000000000000000000000002 00
                   30 20010db80001  00  80 0f 08 0002 01 20 20010db8  40 01 01 00  40 02 06 02 01 0000fde9`,
    }),
    value: {
      withdrawn: [],
      attributes: { origin: 0, asPath: [{ type: 2, asns: [65001] }] },
      nlri: [],
      mpReach: {
        afi: 2,
        safi: 1,
        nlri: [{ prefix: '2001:db8:1::/48' }, { prefix: '::/0' }],
        nextHop: fromHex('20010db8000000000000000000000001fe800000000000000000000000000002'),
      },
      mpUnreach: { afi: 2, safi: 1, nlri: [{ prefix: '2001:db8::/32' }] },
    },
  },
  {
    name: 'IPv4 over an IPv6 next hop',
    session: aSession({ extendedNextHop: true }),
    bytes: anUpdate({
      attributes: `80 0e 19 0001 01 10 20010db8000000000000000000000001 00 18 cb0071
                   40 01 01 00  40 02 06 02 01 0000fde9`,
    }),
    value: {
      withdrawn: [],
      attributes: { origin: 0, asPath: [{ type: 2, asns: [65001] }] },
      nlri: [],
      mpReach: {
        afi: 1,
        safi: 1,
        nlri: [{ prefix: '203.0.113.0/24' }],
        nextHop: fromHex('20010db8000000000000000000000001'),
      },
    },
  },
  {
    name: 'a family that is not carried',
    session: aSession(),
    bytes: anUpdate({ attributes: '80 0f 07 0001 85 03010203' }),
    value: {
      withdrawn: [],
      attributes: {},
      nlri: [],
      mpUnreach: { afi: 1, safi: 133, nlri: [], opaque: fromHex('03010203') },
    },
  },
]
