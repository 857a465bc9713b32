// The union told by differences is the one worked out from all CIDRs.
import test from 'ava'
import fc from 'fast-check'
import { CidrUnion } from '../../../felix/policy/cidr-union.ts'
import { contains, formatCidr, parseCidr } from '../../../lib/ip.ts'
import { parsePrefix } from '../../../lib/prefix-index.ts'

const cidr = fc.oneof(
  fc
    .tuple(fc.constantFrom(0, 1, 10, 255), fc.constantFrom(0, 128), fc.constantFrom(0, 1), fc.nat({ max: 32 }))
    .map(([a, b, c, length]) => `${a}.${b}.0.${c}/${length}`),
  fc
    .tuple(fc.constantFrom('fd00', '8000', ''), fc.constantFrom('1', '0'), fc.nat({ max: 128 }))
    .map(([a, b, length]) => `${a}::${b}/${length}`),
)
const canonical = (text: string) => formatCidr(parseCidr(text)!)
const shown = (text: string) => text.replace(/\/(32(?=$)(?<!:.*)|128)$/, '')

/** The CIDRs that no other one holds. */
function unionOf(all: readonly string[]): string[] {
  const distinct = [...new Set(all)]
  return distinct.filter(one => !distinct.some(other => other !== one && contains(other, one))).map(shown)
}

test('CIDRs that come and go, often and inside one another, leave the disjoint union of those that are there', t => {
  fc.assert(
    fc.property(fc.array(fc.tuple(cidr, fc.boolean(), fc.nat({ max: 50 })), { maxLength: 60 }), walk => {
      const told = new Set<string>()
      const union = new CidrUnion((text, is) => {
        if (is === 'in' ? told.has(text) : !told.has(text)) throw new Error(`${text} is ${is} again`)
        if (is === 'in') told.add(text)
        else told.delete(text)
      })
      const there: string[] = []
      for (const [text, comes, which] of walk) {
        if (comes || there.length === 0) {
          there.push(canonical(text))
          union.add(parsePrefix(text)!)
        } else union.remove(parsePrefix(there.splice(which % there.length, 1)[0]!)!)
        t.deepEqual([...told].sort(), unionOf(there).sort())
        t.deepEqual([...union.of('ipv4'), ...union.of('ipv6')].sort(), [...told].sort())
        t.is(
          union.has('ipv6'),
          there.some(each => each.includes(':')),
        )
      }
      for (const text of there) union.remove(parsePrefix(text)!)
      t.deepEqual([...told], [])
    }),
  )
})

test('what an outer CIDR held comes back when it goes, and is told as differences only', t => {
  const told: string[] = []
  const union = new CidrUnion((text, is) => told.push(`${is} ${text}`))
  const steps = ['10.0.0.0/24', '10.0.1.7/32', '10.0.0.0/8', '10.9.0.0/16'] as const
  for (const text of steps) union.add(parsePrefix(text)!)
  t.deepEqual(told.splice(0), ['in 10.0.0.0/24', 'in 10.0.1.7', 'out 10.0.0.0/24', 'out 10.0.1.7', 'in 10.0.0.0/8'])
  union.remove(parsePrefix('10.0.0.0/8')!)
  t.deepEqual(told, ['out 10.0.0.0/8', 'in 10.0.0.0/24', 'in 10.0.1.7', 'in 10.9.0.0/16'])
})

test('a CIDR that was not added cannot be removed', t => {
  const union = new CidrUnion(() => {})
  union.add(parsePrefix('10.0.0.0/24')!)
  for (const text of ['10.0.0.0/25', '10.0.0.0/8', '11.0.0.0/24', 'fd00::/8'])
    t.throws(() => union.remove(parsePrefix(text)!), { message: 'a CIDR that was not added' })
})
