// Every field of margay-bgp's file with values that its type allows and that could not work: each is refused when the
// file is read, with its place, the value where it can be shown, and a remedy.
import test from 'ava'
import { parseConfigFile } from '../../../bgp/file/config-file.ts'
import { ConfigError } from '../../../bgp/file/faults.ts'

const minimal = { asn: 65001, routerId: '10.0.0.1' }
const anEbgpPeer = { address: '10.0.0.2', asn: 65002 }

function faults(file: object): readonly string[] {
  try {
    // JSON is YAML
    parseConfigFile(JSON.stringify(file))
    return []
  } catch (error) {
    if (error instanceof ConfigError) return error.faults
    throw error
  }
}

type Case = readonly [file: object, fault: RegExp]
const file = (fields: object, fault: RegExp): Case => [{ ...minimal, ...fields }, fault]
const neighbor = (fields: object, fault: RegExp): Case => file({ neighbors: [{ ...anEbgpPeer, ...fields }] }, fault)
const neighbors = (list: object[], fault: RegExp): Case => file({ neighbors: list }, fault)
const rule = (fields: object, fault: RegExp): Case => neighbor({ import: [{ action: 'accept', ...fields }] }, fault)
const network = (fields: object, fault: RegExp): Case =>
  file({ networks: [{ prefix: '203.0.113.0/24', ...fields }] }, fault)
const collector = (fields: object, fault: RegExp): Case =>
  file({ bmp: [{ collector: '192.0.2.9', port: 1, ...fields }] }, fault)
const match = (cidr: string, lengths: object, fault: RegExp, operator = 'In'): Case =>
  rule({ match: { operator, cidr, lengths } }, fault)

const cases: Readonly<Record<string, readonly Case[]>> = {
  'keys of TCP-AO': [
    neighbor({ tcpAo: [] }, /name at least one key/),
    neighbor({ tcpAo: [{ secret: 's' }] }, /write id, or sendId and receiveId/),
    neighbor({ tcpAo: [{ id: 1, sendId: 2, secret: 's' }] }, /write id, or sendId and receiveId/),
    neighbor({ tcpAo: [{ sendId: 2, secret: 's' }] }, /write id, or sendId and receiveId/),
    neighbor({ tcpAo: [{ id: 256, secret: 's' }] }, /tcpAo\[0\]\.id: .*says 256/),
    neighbor({ tcpAo: [{ id: 1 }] }, /tcpAo\[0\]\.secret/),
    neighbor({ tcpAo: [{ id: 1, secret: '' }] }, /tcpAo\[0\]\.secret/),
    neighbor({ tcpAo: [{ id: 1, secret: 'é'.repeat(41) }] }, /tcpAo\[0\]\.secret/),
    neighbor({ tcpAo: [{ id: 1, secret: 's', algorithm: 'md5' }] }, /write hmac-sha1 or aes-128-cmac/),
    neighbor({ tcpAo: [1, 1].map(id => ({ id, secret: 's' })) }, /two keys have one sendId/),
    neighbor({ tcpAo: [1, 2].map(sendId => ({ sendId, receiveId: 3, secret: 's' })) }, /two keys have one receiveId/),
    neighbor({ tcpAo: Array.from({ length: 17 }, (_, id) => ({ id, secret: 's' })) }, /at most 16 keys/),
    neighbor({ tcpAo: [{ id: 1, secret: 's' }], password: 'p' }, /password and tcpAo exclude each other/),
  ],
  'who the speaker is': [
    file({ asn: 4294967296 }, /^asn: too large: .*says 4294967296/),
    file({ asn: 1.5 }, /^asn: write a whole number/),
    file({ routerId: '0.0.0.0' }, /^routerId: 0\.0\.0\.0 is nobody/),
    file({ routerId: '2001:db8::1' }, /^routerId: write a dotted quad.*says 2001:db8::1/),
    file({ clusterId: '0.0.0.0' }, /^clusterId: 0\.0\.0\.0 is nobody/),
    file(
      { confederation: { identifier: 64512, members: [1, 2, 1] } },
      /^confederation\.members\[2\]: is there already.*says 1\)/,
    ),
    file(
      { confederation: { identifier: 65003, members: [65001, 65003] } },
      /^confederation\.identifier: is a member AS/,
    ),
    file({ confederation: { identifier: 0, members: [] } }, /^confederation\.identifier: too small/),
  ],
  'where it listens and what it writes': [
    file({ listen: ['10.0.0.1:0'] }, /^listen\[0\]: not an address with a port/),
    file({ listen: ['10.0.0.1:65536'] }, /^listen\[0\]: not an address with a port/),
    file({ listen: ['[fe80::1]:179'] }, /^listen\[0\]: a link-local address needs its interface/),
    file({ listen: ['224.0.0.5'] }, /^listen\[0\]: not an address to listen on/),
    file({ listen: ['::ffff:10.0.0.1'] }, /^listen\[0\]: not an address to listen on/),
    file({ listen: ['10.0.0.1', '10.0.0.1:179'] }, /^listen\[1\]: 10\.0\.0\.1:179 listens there already/),
    file(
      { listen: ['0.0.0.0', '10.0.0.1'] },
      /^listen\[1\]: 0\.0\.0\.0:179 listens there already.*says 10\.0\.0\.1:179/,
    ),
    file({ listen: ['[2001:db8::1]:7', '[::]:7'] }, /^listen\[1\]: \[2001:db8::1\]:7 listens there already/),
    file({ control: '' }, /^control: empty/),
    file({ control: `/run/${'x'.repeat(103)}` }, /^control: too long: at most 107 octets/),
    file({ control: 'a\0b' }, /^control: a path has no NUL/),
    file({ kernel: { table: 255 } }, /^kernel\.table: table 255 is the one of the host's own addresses.*says 255/),
    file({ kernel: { table: 254, metric: 0 } }, /^kernel\.metric: too small.*leave it out/),
    file({ nextHops: 'all' }, /^nextHops: write none, or defaultRoute: true/),
    file({ multipath: { paths: 65, of: 'ebgp' } }, /^multipath\.paths: too large: a number of paths, 1-64/),
    file({ multipath: { paths: 2, of: 'all' } }, /^multipath\.of: write ebgp, ibgp, either or merge/),
  ],
  'the address of a neighbor': [
    neighbor({ address: '0.0.0.0' }, /^neighbors\[0\]\.address: not the address of one host.*says 0\.0\.0\.0/),
    neighbor({ address: '::' }, /address: not the address of one host/),
    neighbor({ address: '224.0.0.9' }, /address: not the address of one host/),
    neighbor({ address: '255.255.255.255' }, /address: not the address of one host/),
    neighbor({ address: 'ff02::5' }, /address: not the address of one host/),
    neighbor({ address: '::ffff:10.0.0.2' }, /address: not the address of one host/),
    neighbor({ address: 'fe80::2' }, /address: a link-local address needs its interface: add interface/),
    neighbor({ interface: 'a/b' }, /interface: not the name of an interface/),
    neighbor({ interface: 'sixteen-letters-' }, /interface: too long: at most 15 octets/),
    neighbor({ interface: '..' }, /interface: not the name of an interface/),
    neighbor({ source: '2001:db8::1' }, /source: the neighbor is reached over ipv4.*says 2001:db8::1/),
    neighbor(
      { address: undefined, interface: 'eth1', source: '10.0.0.1' },
      /source: the neighbor is reached over ipv6/,
    ),
    neighbor({ source: '0.0.0.0' }, /source: not the address of one host/),
    neighbor({ address: '2001:db8::2', source: 'fe80::1' }, /source: a link-local address needs its interface/),
    neighbor({ port: 0 }, /port: too small: a port, 1-65535/),
    neighbor({ rangeLimit: 3 }, /rangeLimit: this neighbor is no range/),
    neighbors([{ range: '10.0.0.0/24', asn: 1, port: 179 }], /port: nobody dials the neighbours of a range/),
    neighbors([{ range: '10.0.0.0/24', asn: 1, source: '10.0.0.1' }], /source: nobody dials the neighbours of a range/),
    neighbors([{ range: '10.0.0.0/24', asn: 1, passive: false }], /passive: nobody dials/),
    neighbors([{ range: '10.0.0.0/33', asn: 1 }], /range: not a CIDR.*says 10\.0\.0\.0\/33/),
  ],
  'two neighbors that are one': [
    neighbors(
      [anEbgpPeer, { ...anEbgpPeer, name: 'b' }],
      /^neighbors\[1\]\.address: neighbor 10\.0\.0\.2 has connections from there/,
    ),
    neighbors([anEbgpPeer, anEbgpPeer], /^neighbors\[1\]\.address: another neighbor is called 10\.0\.0\.2 already/),
    neighbors(
      [
        { ...anEbgpPeer, name: 'a' },
        { address: '10.0.0.3', asn: 1, name: 'a' },
      ],
      /^neighbors\[1\]\.name: another neighbor is called a/,
    ),
    neighbors(
      [
        { range: '10.0.0.0/24', asn: 1 },
        { range: '10.0.0.0/24', asn: 2, name: 'b' },
      ],
      /^neighbors\[1\]\.range: neighbor 10\.0\.0\.0\/24 has/,
    ),
    neighbors(
      [
        { range: '10.0.0.0/24', asn: 1, password: 'x' },
        { ...anEbgpPeer, passive: true },
      ],
      /^neighbors\[1\]\.address: the kernel asks for the password of range 10\.0\.0\.0\/24 from here too/,
    ),
    neighbors(
      [
        { range: '10.0.0.0/28', asn: 1 },
        { range: '10.0.0.0/24', asn: 1, password: 'x' },
      ],
      /^neighbors\[0\]\.range: the kernel asks for the password of range 10\.0\.0\.0\/24/,
    ),
    neighbors(
      [
        { interface: 'eth1', asn: 1 },
        { interface: 'eth1', asn: 2, name: 'b' },
      ],
      /^neighbors\[1\]\.interface: neighbor eth1 has/,
    ),
    neighbors(
      [
        { interface: 'eth1', asn: 1 },
        { interface: 'eth1', address: 'fe80::2', asn: 2 },
      ],
      /^neighbors\[1\]\.address: neighbor eth1 has/,
    ),
    neighbors(
      [
        { range: '10.1.0.0/24', name: 'rack', asn: 1 },
        { ...anEbgpPeer, name: 'rack:10.1.0.9' },
      ],
      /^neighbors\[1\]\.name: a neighbour of rack can get the name rack:10\.1\.0\.9/,
    ),
    file(
      { mrt: { load: '/r' }, neighbors: [{ ...anEbgpPeer, name: 'mrt:10.9.9.9' }] },
      /^neighbors\[0\]\.name: a peer of the MRT file can get the name/,
    ),
    file(
      { mrt: { load: '/r', name: 'rack' }, neighbors: [{ range: '10.1.0.0/24', name: 'rack', asn: 1 }] },
      /name: a peer of the MRT file can get/,
    ),
  ],
  'what a neighbor is to us': [
    neighbor({ asn: 'internal', role: 'peer' }, /role: roles are for external peers/),
    neighbor({ asn: 65001, role: 'peer' }, /role: roles are for external peers/),
    neighbor({ localAs: 65002, role: 'customer' }, /role: roles are for external peers/),
    neighbor({ reflectorClient: true }, /reflectorClient: clients are internal peers/),
    neighbor({ asn: 'external', reflectorClient: true }, /reflectorClient: clients are internal peers/),
    neighbor({ asn: 'internal', removePrivateAs: true }, /removePrivateAs: the path does not change/),
    neighbor({ localAs: 0 }, /localAs: too small/),
    neighbor({ name: 'a\nb' }, /name: no control characters/),
    neighbor({ name: 'x'.repeat(201) }, /name: too long: at most 200 octets/),
    neighbor({ shutdownMessage: 'é'.repeat(128) }, /shutdownMessage: too long: at most 255 octets/),
  ],
  'sessions and their timers': [
    neighbor({ holdTime: 1 }, /holdTime: RFC 4271 allows 0 or 3-65535 seconds \(the file says 1\)/),
    neighbor({ holdTime: 0, keepalive: 5 }, /keepalive: holdTime 0 means no keepalives/),
    neighbor({ keepalive: 0 }, /keepalive: too small/),
    neighbor({ connectRetry: 65536 }, /connectRetry: too large/),
    neighbor({ ttlSecurity: 255 }, /ttlSecurity: too large/),
    neighbor({ multihop: 0 }, /multihop: too small/),
    neighbor({ families: ['ipv4-unicast', 'ipv4-unicast'] }, /families\[1\]: is there already/),
    neighbor({ families: ['ipv6-unicast'], extendedNextHop: true }, /extendedNextHop: it is about IPv4 routes/),
    neighbor({ gracefulRestart: { restartTime: 4096 } }, /gracefulRestart\.restartTime: too large/),
    neighbor({ gracefulRestart: { longLivedStaleTime: 16777216 } }, /longLivedStaleTime: too large/),
    neighbor({ gracefulRestart: true }, /gracefulRestart: write false, or an object/),
    neighbor({ sendCommunities: ['large', 'large'] }, /sendCommunities\[1\]: is there already/),
    neighbor({ maxPrefixes: { max: 0 } }, /maxPrefixes\.max: too small/),
    neighbor({ maxPrefixes: { max: 1, warnPercent: 101 } }, /warnPercent: too large/),
  ],
  'rules of policies': [
    rule(
      { communities: ['70000:1'] },
      /^neighbors\[0\]\.import\[0\]\.communities\[0\]: write a community.*says 70000:1/,
    ),
    rule({ communities: ['1:2:4294967296'] }, /communities\[0\]: write a community/),
    rule({ communities: ['rt:70000:65536'] }, /communities\[0\]: write a community/),
    rule({ communities: ['no-such'] }, /communities\[0\]: write a community/),
    rule(
      { operations: [{ do: 'add-community', value: '1:65536' }] },
      /operations\[0\]\.value: write a community.*says 1:65536/,
    ),
    rule({ operations: [{ do: 'prepend-as-path', asns: new Array(256).fill(1) }] }, /asns: at most 255/),
    rule(
      { operations: new Array(2).fill({ do: 'prepend-as-path', asns: new Array(200).fill(1) }) },
      /operations: 400 AS numbers in all: at most 255/,
    ),
    rule({ operations: [{ do: 'prepend-as-path', asns: [0] }] }, /asns\[0\]: too small/),
    rule({ operations: [{ do: 'set-priority', value: 2147483648 }] }, /value: too large: 0-2147483647/),
    rule({ priority: 4294967295 }, /priority: too large: 0-2147483647/),
    rule(
      { action: 'reject', operations: [{ do: 'set-priority', value: 1 }] },
      /operations: a rule that rejects changes nothing/,
    ),
    rule({ interface: 'eth 1' }, /interface: not the name of an interface/),
    match('10.0.0.0/8', { max: 33 }, /lengths\.max: prefixes of this family have at most 32 bits.*says 33/),
    match('10.0.0.0/8', { min: 33 }, /lengths\.min: prefixes of this family have at most 32 bits/),
    match('2001:db8::/32', { max: 129 }, /lengths\.max: too large/),
    match('10.0.0.0/8', { min: 24, max: 16 }, /lengths\.min: above max, which is 16/),
    match('10.0.0.0/16', { max: 8 }, /lengths\.max: below the 16 of 10\.0\.0\.0\/16/),
    match('10.0.0.0/16', { min: 24 }, /lengths\.min: above the 16 of 10\.0\.0\.0\/16/, 'Equal'),
    file(
      { mrt: { load: '/r', import: [{ action: 'accept', communities: ['70000:1'] }] } },
      /^mrt\.import\[0\]\.communities\[0\]: write a community/,
    ),
  ],
  networks: [
    network({ communities: ['99999:1'] }, /^networks\[0\]\.communities\[0\]: write a community.*says 99999:1/),
    network({ communities: [65001] }, /communities\[0\]: write a community as text/),
    network({ nextHop: '0.0.0.0' }, /nextHop: no next hop for others/),
    network({ nextHop: '127.0.0.1' }, /nextHop: no next hop for others/),
    network({ nextHop: 'fe80::1' }, /nextHop: no next hop for others/),
    network({ prefix: '2001:db8::/32', nextHop: '192.0.2.1' }, /nextHop: an IPv6 prefix needs an IPv6 next hop/),
    network({ encapsulations: [0] }, /encapsulations\[0\]: too small/),
    network({ encapsulations: [65536] }, /encapsulations\[0\]: too large/),
    network({ encapsulations: [7, 7] }, /encapsulations\[1\]: is there already/),
    network({ med: 4294967296 }, /med: too large/),
    network({ localPref: -1 }, /localPref: too small/),
    file(
      { networks: ['10.0.0.0/8', { prefix: '10.0.0.0/8', med: 1 }] },
      /^networks\[1\]: is there already.*says 10\.0\.0\.0\/8/,
    ),
    file({ networks: ['10.0.0.0/33'] }, /^networks\[0\]: not a CIDR/),
  ],
  'collectors and table dumps': [
    collector({ collector: '0.0.0.0' }, /^bmp\[0\]\.collector: not the address of one host/),
    collector({ collector: 'fe80::9' }, /collector: a link-local address leads nowhere/),
    collector({ source: '2001:db8::1' }, /source: not of the family of the collector/),
    collector({ retry: 721 }, /retry: above maxRetry, which is 720/),
    collector({ retry: 60, maxRetry: 30 }, /retry: above maxRetry, which is 30/),
    collector({ monitor: [] }, /monitor: empty: name a table or leave the field out/),
    collector({ monitor: ['loc-rib', 'loc-rib'] }, /monitor\[1\]: is there already/),
    collector(
      { monitor: ['rib'] },
      /monitor\[0\]: write adj-rib-in-pre, adj-rib-in-post, loc-rib, adj-rib-out-pre or adj-rib-out-post/,
    ),
    collector({ name: 'x'.repeat(256) }, /name: too long: at most 255 octets/),
    file({ mrt: { load: '' } }, /^mrt\.load: empty/),
    file({ mrt: { load: 'a\0b' } }, /^mrt\.load: a path has no NUL/),
  ],
}

for (const [what, list] of Object.entries(cases))
  test(`values that could not work are refused when the file is read: ${what}`, t => {
    for (const [wrong, fault] of list) {
      const told = faults(wrong)
      t.true(
        told.some(line => fault.test(line)),
        `${fault} in ${JSON.stringify(told)} for ${JSON.stringify(wrong)}`,
      )
    }
  })

test('communities of all kinds are accepted in networks and rules', t => {
  const communities = ['65001:100', 'no-export', '4200000000:1:2', 'rt:65001:7']
  const { networks, peers } = parseConfigFile(
    JSON.stringify({
      ...minimal,
      networks: [{ prefix: '203.0.113.0/24', communities }],
      neighbors: [{ ...anEbgpPeer, import: [{ action: 'accept', communities }] }],
    }),
  )
  const large = { global: 4200000000, local1: 1, local2: 2 }
  t.deepEqual(networks[0]?.communities, [0xfde90064, 0xffffff01, large, 0x0002fde900000007n])
  t.like(peers[0]?.import, [{ communities }])
})

test('a neighbor inside a range with a password is accepted where it has one too, is dialled, or one of both is disabled', t => {
  const range = { range: '10.0.0.0/24', asn: 1, password: 'x' }
  const passive = { ...anEbgpPeer, passive: true }
  for (const [around, peer] of [
    [range, { ...passive, password: 'y' }],
    [range, anEbgpPeer],
    [range, { ...passive, disabled: true }],
    [{ ...range, disabled: true }, passive],
    [range, { range: '10.0.0.0/8', asn: 1 }],
  ])
    t.deepEqual(faults({ ...minimal, neighbors: [around, peer] }), [])
})

test('values at the limits are accepted', t => {
  const good = {
    asn: 4294967295,
    routerId: '255.255.255.255',
    listen: ['0.0.0.0', '[::]:179', '10.0.0.1:180'],
    control: `/run/${'x'.repeat(102)}`,
    kernel: { table: 4294967295, metric: 4294967295 },
    neighbors: [
      { ...anEbgpPeer, password: 'x'.repeat(80), ttlSecurity: 254, holdTime: 3, shutdownMessage: 'é'.repeat(127) },
      { address: 'fe80::2', interface: 'fifteen-letters', asn: 'internal', source: 'fe80::1' },
      { range: '0.0.0.0/0', asn: 'external', rangeLimit: 100_000 },
      {
        range: '10.0.0.0/8',
        asn: 'external',
        import: [{ action: 'accept', match: { operator: 'In', cidr: '10.0.0.0/32', lengths: { min: 32, max: 32 } } }],
      },
    ],
    networks: [{ prefix: '0.0.0.0/0', nextHop: '2001:db8::1', med: 4294967295, localPref: 0, encapsulations: [65534] }],
    bmp: [{ collector: '192.0.2.9', port: 65535, retry: 720, bufferMiB: 1024 }],
  }
  t.deepEqual(faults(good), [])
})
