import { readFileSync } from 'node:fs'
import test from 'ava'
import { parseConfigFile } from '../../../bgp/file/config-file.ts'
import { ConfigError } from '../../../bgp/file/faults.ts'

const minimal = 'asn: 65001\nrouterId: 10.0.0.1\n'
const faults = (text: string): readonly string[] => {
  try {
    parseConfigFile(text)
    return []
  } catch (error) {
    if (error instanceof ConfigError) return error.faults
    throw error
  }
}

test('the smallest file has an AS number and a router id', t => {
  const file = parseConfigFile(minimal)
  t.deepEqual(file.speaker, { asn: 65001, routerId: '10.0.0.1' })
  t.deepEqual([file.peers, file.networks, file.listen, file.kernel, file.nextHops], [[], [], [], 'none', 'none'])
})

test('fields are read into their places', t => {
  const { peers, listen, networks, kernel } = parseConfigFile(`${minimal}
listen: [10.77.0.1:179, "[2001:db8::1]:1179", "::"]
kernel: {table: 254}
neighbors:
  - address: 2001:DB8:0::2
    asn: 65002
    holdTime: 30
    keepalive: 5
    nextHopSelf: true
    gracefulRestart: {}
    maxPrefixes: {max: 10, restart: 60}
    import: [{action: accept, match: {operator: In, cidr: 10.0.0.0/8, lengths: {min: 24}}}]
networks: [203.0.113.0/24, {prefix: "2001:db8::/32", communities: ["65001:2"]}]
`)
  t.deepEqual(listen, [
    { address: '10.77.0.1', port: 179 },
    { address: '2001:db8::1', port: 1179 },
    { address: '::', port: 179 },
  ])
  t.deepEqual(kernel, { table: 254 })
  t.deepEqual(networks, [{ prefix: '203.0.113.0/24' }, { prefix: '2001:db8::/32', communities: [0xfde90002] }])
  const [peer] = peers
  t.is(peer?.address, '2001:db8::2')
  t.is(peer?.timers?.holdTimeSeconds, 30)
  t.is(peer?.timers?.keepaliveSeconds, 5)
  t.is(peer?.nextHop, 'self')
  t.deepEqual(peer?.gracefulRestart, { restartSeconds: 120, longLivedSeconds: undefined, notification: undefined })
  t.like(peer?.prefixLimit, { max: 10, restartSeconds: 60 })
})

test('next hops are looked up where routes are written, or where that is asked for', t => {
  const read = (lines: string) => parseConfigFile(`${minimal}${lines}\n`).nextHops
  t.deepEqual(read('kernel: {table: 254}'), { defaultRoute: false })
  t.is(read('kernel: {table: 254}\nnextHops: none'), 'none')
  t.deepEqual(read('nextHops: {defaultRoute: true}'), { defaultRoute: true })
})

test('the example file in DESIGN.md is accepted', t => {
  const design = readFileSync(new URL('../../../DESIGN.md', import.meta.url), 'utf8')
  const [, example = ''] = /^## 8\..*?```yaml\n(.*?)```/ms.exec(design) ?? []
  const { peers, networks, bmp } = parseConfigFile(example)
  t.deepEqual([peers.length, networks.length, bmp.length], [1, 1, 1])
})

test('a table dump and BMP collectors are taken, and their times and sizes in the units of the program', t => {
  const { mrt, bmp } = parseConfigFile(`${minimal}
mrt: {load: /var/lib/rib.mrt, name: table, import: reject}
bmp:
  - {collector: 2001:DB8::9, port: 11019, source: "2001:db8::1", name: r1, monitor: [loc-rib, adj-rib-in-pre], stats: 10, retry: 5, maxRetry: 60, bufferMiB: 4}
`)
  t.deepEqual(mrt, { load: '/var/lib/rib.mrt', name: 'table', import: 'reject' })
  const times = { statsSeconds: 10, retrySeconds: 5, maxRetrySeconds: 60, bufferOctets: 4 << 20 }
  t.deepEqual(bmp, [
    {
      collector: '2001:db8::9',
      port: 11019,
      source: '2001:db8::1',
      name: 'r1',
      monitor: ['loc-rib', 'adj-rib-in-pre'],
      ...times,
    },
  ])
  t.deepEqual(faults(`${minimal}bmp: [{collector: 192.0.2.9, port: 1}, {collector: 192.0.2.9, port: 1}]\nmrt: {}`), [
    'mrt.load: missing; it is required',
  ])
  t.deepEqual(faults(`${minimal}bmp: [{collector: 192.0.2.9, port: 1}, {collector: 192.0.2.9, port: 1}]`), [
    'bmp[1]: is there already; remove one (the file says 192.0.2.9:1)',
  ])
})

test('every fault is told at once, with its place and what to write instead', t => {
  const found = faults(`asn: 0
routerId: bgp1
hold: 3
listen: [localhost]
neighbors:
  - {address: 192.0.2.300, asn: 65002}
  - {address: 192.0.2.2, asn: x, holdTime: 2, import: [{action: take}]}
  - {asn: 65003}
networks: [203.0.113.1/24]
`)
  const expected = [
    /^asn: too small: an AS number, 1-4294967295 \(the file says 0\)$/,
    /^routerId: not an IP address; write it like/,
    /^hold: unknown field/,
    /^listen\[0\]: not an address with a port; write it like 192\.0\.2\.1:179/,
    /^neighbors\[0\]\.address: not an IP address/,
    /^neighbors\[1\]\.asn: write an AS number, external or internal/,
    /^neighbors\[1\]\.holdTime: RFC 4271 allows 0 or 3-65535 seconds \(the file says 2\)$/,
    /^neighbors\[1\]\.import\[0\]\.action: write accept or reject/,
    /^neighbors\[2\]: a neighbor needs an address, an interface, or a range/,
    /^networks\[0\]: host bits are set; write 203\.0\.113\.0\/24/,
  ]
  for (const pattern of expected)
    t.true(
      found.some(line => pattern.test(line)),
      `${pattern} in\n${found.join('\n')}`,
    )
})

test('fields that exclude each other, names that repeat and text that is no YAML are refused', t => {
  const neighbors = (...list: string[]) => faults(`${minimal}neighbors:\n${list.map(n => `  - ${n}\n`).join('')}`)
  t.regex(neighbors('{address: 192.0.2.2, asn: 1, multihop: 2, ttlSecurity: 1}').join(), /exclude each other/)
  t.regex(neighbors('{address: 192.0.2.2, range: 192.0.2.0/24, asn: 1}').join(), /write two neighbors/)
  t.regex(
    neighbors('{address: 192.0.2.2, asn: 1}', '{address: 192.0.2.2, asn: 1}').join(),
    /called 192\.0\.2\.2 already/,
  )
  t.is(faults('asn: [').length, 1)
  t.regex(faults('').join(), /^asn: missing; it is required|^asn: write a number/)
})

test('no fault tells the password, in whatever wrong place it was typed', t => {
  const mistakes = [
    'password: *hunter2',
    'password: !hunter2',
    'password: @hunter2',
    'password: |hunter2\n      x',
    'password: "hunter2\\q"',
    'password: [hunter2]',
    'password: {hunter2: 1}',
    'password:hunter2',
    '"password:hunter2": 1',
    'password: a: hunter2',
    `password: ${'hunter2'.repeat(20)}`,
    `password: hunter2${'é'.repeat(60)}`,
    'asn: hunter2',
    'import: hunter2',
    'range: hunter2',
    'source: hunter2',
    'families: [hunter2]',
  ]
  for (const mistake of mistakes) {
    const told = faults(`${minimal}neighbors:\n  - asn: 65002\n    address: 10.0.0.2\n    ${mistake}\n`)
    t.true(told.length > 0, mistake)
    t.notRegex(told.join('\n'), /hunter2/, mistake)
  }
})
