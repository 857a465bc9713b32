// The prefix index against a list of CIDRs that is searched from end to end.
import test from 'ava'
import fc from 'fast-check'
import { contains } from '../../lib/ip.ts'
import { PrefixIndex, parsePrefix } from '../../lib/prefix-index.ts'

/** CIDRs in a small corner of both families, so that many of them hold each other. */
const ipv4 = fc.tuple(fc.integer({ min: 0, max: 255 }), fc.integer({ min: 22, max: 32 })).map(([octet, length]) => {
  const bits = ((10 << 24) | octet) >>> 0
  const masked = (bits & (0xffffffff << (32 - length))) >>> 0
  return `10.0.${(masked >>> 8) & 255}.${masked & 255}/${length}`
})
const ipv6 = fc.tuple(fc.integer({ min: 0, max: 15 }), fc.integer({ min: 124, max: 128 })).map(([nibble, length]) => {
  const masked = nibble & (0xf << (128 - length)) & 0xf
  return `fd00::${masked === 0 ? '' : masked.toString(16)}/${length}`
})
const cidr = fc.oneof(ipv4, ipv6)
const changes = fc.array(fc.record({ cidr, gone: fc.boolean() }), { maxLength: 40 })

test('after any changes, match gives the longest CIDR that holds a prefix and within gives all that lie inside it', t => {
  fc.assert(
    fc.property(changes, cidr, (steps, question) => {
      const index = new PrefixIndex<string>()
      const list = new Set<string>()
      for (const { cidr, gone } of steps) {
        const prefix = parsePrefix(cidr)!
        if (gone) index.delete(prefix)
        else index.set(prefix, cidr)
        if (gone) list.delete(cidr)
        else list.add(cidr)
      }
      const lengthOf = (text: string) => Number(text.split('/')[1])
      const holders = [...list].filter(each => contains(each, question))
      const longest = holders.toSorted((a, b) => lengthOf(b) - lengthOf(a))[0]
      const asked = parsePrefix(question)!
      t.is(index.match(asked), longest)
      t.is(index.get(asked), list.has(question) ? question : undefined)
      t.deepEqual(index.within(asked).toSorted(), [...list].filter(each => contains(question, each)).toSorted())
    }),
    { numRuns: 500 },
  )
})

test('a single address is a CIDR of full length, and what is neither has no prefix', t => {
  t.deepEqual(parsePrefix('10.0.0.1'), parsePrefix('10.0.0.1/32'))
  t.deepEqual(parsePrefix('fd00::1'), parsePrefix('fd00::1/128'))
  const wrong = [
    '',
    'nonsense',
    '10.0.0',
    '10.0.0.',
    '10..0.1',
    '10.0.0.256',
    '10.0.0.01',
    '10.0.0.1.2',
    '.1.2.3.4',
    '/24',
  ]
  for (const text of [...wrong, '10.0.0.1/', '10.0.0.1/33', '10.0.0.1/240', '10.0.0.1/-1', '10.0.0.1/2x', 'fd00::/129'])
    t.is(parsePrefix(text), undefined, text)
  t.deepEqual(parsePrefix('255.255.255.255/0'), { family: 'ipv4', bits: 0, length: 0 })
  t.deepEqual(parsePrefix('203.0.113.7/24'), { family: 'ipv4', bits: 0xcb007100, length: 24 })
})
