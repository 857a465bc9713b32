import test from 'ava'
import fc from 'fast-check'
import ipaddr from 'ipaddr.js'
import {
  addressAt,
  addressBytes,
  contains,
  formatAddress,
  formatSocketAddress,
  indexOf,
  isHostAddress,
  isLinkLocal,
  isLinkLocalOctets,
  longestMatch,
  maskAddress,
  overlaps,
  parseAddress,
  parseCidr,
  parseSocketAddress,
  prefixesOf,
  splitHostPort,
} from '../../lib/ip.ts'

test('an address is parsed to its canonical text, and nothing else passes', t => {
  t.is(parseAddress('10.0.0.1'), '10.0.0.1')
  t.is(parseAddress('2001:DB8:0:0::1'), '2001:db8::1')
  for (const bad of ['', '10.1', '0x7f.0.0.1', '10.0.0.256', '010.0.0.1x', 'fe80::1%eth0', '10.0.0.1/24', 'host'])
    t.is(parseAddress(bad), undefined, bad)
})

test('what is an IPv4 address here is what the library takes for four decimal parts', t => {
  const part = fc.oneof(
    fc.integer({ min: 0, max: 300 }).map(String),
    fc.constantFrom('', '00', '01', '0x1', ' 1', '1 '),
  )
  const text = fc.array(part, { minLength: 3, maxLength: 5 }).map(parts => parts.join('.'))
  fc.assert(
    fc.property(fc.oneof(text, fc.ipV4(), fc.ipV4Extended()), text => {
      t.is(parseAddress(text), ipaddr.IPv4.isValidFourPartDecimal(text) ? text : undefined)
    }),
  )
})

test('a CIDR loses its host bits, and a length beyond the family is refused', t => {
  t.deepEqual(parseCidr('10.1.2.3/26'), { family: 'ipv4', address: '10.1.2.0', length: 26 })
  t.deepEqual(parseCidr('fd00::ff/122'), { family: 'ipv6', address: 'fd00::c0', length: 122 })
  t.deepEqual(parseCidr('0.0.0.0/0'), { family: 'ipv4', address: '0.0.0.0', length: 0 })
  for (const bad of ['10.0.0.0', '10.0.0.0/33', '::/129', '10.0.0.0/', '10.0.0.0/-1', '/8', '10.0.0.0/8/8'])
    t.is(parseCidr(bad), undefined, bad)
})

test('masking agrees with bit arithmetic for every length', t => {
  fc.assert(
    fc.property(fc.nat(0xffffffff), fc.nat(32), (value, length) => {
      const bytes = Uint8Array.of(value >>> 24, value >>> 16, value >>> 8, value)
      const mask = length === 0 ? 0 : (0xffffffff << (32 - length)) >>> 0
      const expected = (value & mask) >>> 0
      t.is(
        maskAddress(formatAddress(bytes), length),
        formatAddress(Uint8Array.of(expected >>> 24, expected >>> 16, expected >>> 8, expected)),
      )
    }),
  )
})

test('an address survives the way to octets and back', t => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 16, maxLength: 16 }), bytes => {
      t.deepEqual(addressBytes(formatAddress(bytes)), bytes)
    }),
  )
})

test('containment and overlap respect families and lengths', t => {
  t.true(contains('10.0.0.0/8', '10.255.0.1'))
  t.true(contains('10.0.0.0/8', '10.1.0.0/16'))
  t.false(contains('10.1.0.0/16', '10.0.0.0/8'))
  t.true(overlaps('10.1.0.0/16', '10.0.0.0/8'))
  t.false(contains('0.0.0.0/0', '::1'))
})

test('the n-th address of a CIDR and the index of an address are inverse', t => {
  t.is(addressAt('10.0.0.192/26', 63), '10.0.0.255')
  t.is(indexOf('fd00::40/122', 'fd00::7f'), 63)
  t.is(indexOf('10.0.0.0/26', '10.0.0.64'), undefined)
  t.throws(() => addressAt('10.0.0.0/26', 64), { instanceOf: RangeError })
})

test('the octets of a dotted quad agree with its text, and what is no quad is left to the library', t => {
  fc.assert(
    fc.property(fc.tuple(fc.nat(255), fc.nat(255), fc.nat(255), fc.nat(255)), octets => {
      t.deepEqual([...addressBytes(octets.join('.'))], octets)
    }),
  )
  for (const bad of ['1.2.3.256', '1.2.3.', 'a.b.c.d', '', '1..2.3']) t.throws(() => addressBytes(bad), undefined, bad)
})

test('an address with a port is read and written in one form, brackets for IPv6 only', t => {
  t.deepEqual(parseSocketAddress('192.0.2.1:1179', 179), { address: '192.0.2.1', port: 1179 })
  t.deepEqual(parseSocketAddress('[2001:DB8::1]:1', 179), { address: '2001:db8::1', port: 1 })
  t.deepEqual(parseSocketAddress('2001:db8::1', 179), { address: '2001:db8::1', port: 179 })
  t.deepEqual(parseSocketAddress('[::]', 179), { address: '::', port: 179 })
  for (const bad of [
    '',
    'host',
    'host:1',
    '192.0.2.1:',
    '192.0.2.1:0',
    '192.0.2.1:65536',
    '[192.0.2.1]:1',
    '[::1:1',
    ':179',
  ])
    t.is(parseSocketAddress(bad, 179), undefined, bad)
  for (const text of ['192.0.2.1:179', '[2001:db8::1]:65535'])
    t.is(formatSocketAddress(parseSocketAddress(text, 1)!), text)
  t.deepEqual(splitHostPort('localhost:6480'), { host: 'localhost', port: 6480 })
})

test('link-local is fe80::/10, as text and as octets', t => {
  for (const inside of ['fe80::1', 'fe90::', 'febf:ffff::']) {
    t.true(isLinkLocal(inside))
    t.true(isLinkLocalOctets(addressBytes(inside)))
  }
  for (const outside of ['fe7f::', 'fec0::1', 'fe8::1', '2001:db8::fe80']) {
    t.false(isLinkLocal(outside), outside)
    t.false(isLinkLocalOctets(addressBytes(outside)), outside)
  }
  t.false(isLinkLocal('169.254.1.1'))
})

test('an address of no single machine is told: unspecified, multicast, reserved, IPv4 inside IPv6', t => {
  for (const text of ['10.0.0.1', '127.0.0.1', '223.255.255.255', 'fe80::1', '::1', '::ffff:1', '2001:db8::']) {
    t.true(isHostAddress(text), text)
    t.is(parseAddress(text), text)
  }
  for (const text of ['0.0.0.0', '224.0.0.1', '255.255.255.255', '::', 'ff02::1', parseAddress('::ffff:10.0.0.1')!])
    t.false(isHostAddress(text), text)
})

test('of what is kept under prefixes an address finds the longest that holds it, in no more look-ups than it has lengths', t => {
  const kept = [
    '0.0.0.0/0',
    '10.0.0.0/8',
    '10.128.0.0/9',
    '10.244.1.0/26',
    '10.244.1.5/32',
    '::/0',
    'fd00::/8',
    'fd00:10::/122',
  ]
  const addresses = [
    '10.244.1.5',
    '10.244.1.6',
    '10.244.1.64',
    '10.1.1.1',
    '192.0.2.1',
    'fd00:10::5',
    'fd00:10::45',
    '2001:db8::1',
  ]
  for (const address of addresses) {
    const lengthOf = (prefix: string) => Number(prefix.split('/')[1])
    const holding = kept.filter(prefix => contains(prefix, address)).sort((a, b) => lengthOf(b) - lengthOf(a))
    t.is(longestMatch(new Map(kept.map(prefix => [prefix, prefix])), address), holding[0])
    t.deepEqual(
      [...prefixesOf(address)].filter(prefix => kept.includes(prefix)),
      holding,
    )
  }
  t.is(longestMatch(new Map([['10.244.1.0/26', 1]]), '10.244.2.1'), undefined)
  t.deepEqual([[...prefixesOf('10.0.0.1')].length, [...prefixesOf('::1')].length], [33, 129])
})
