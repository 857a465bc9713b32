// Which packets to addresses of Services nobody takes: the table, worked out from ranges and from who has addresses inside them.
import test from 'ava'
import fc from 'fast-check'
import { Calculator } from '../../felix/calc/calculator.ts'
import { contains, fromBig } from '../../lib/ip.ts'
import { rangeOf, subtracted } from '../../lib/ip-range.ts'
import { CALCULATOR, EMPTY, N2, tell, type World } from './worlds.ts'

const KEY = 'inet margay-services'
const LOOPS = { action: 'drop', ranges: ['10.96.0.0/24', '192.168.10.0/24', '2001:db8::/64'] } as const

const wordsOf = (calculator: Calculator) =>
  calculator
    .wanted()
    .nftTable.get(KEY)
    ?.contents?.flatMap(({ elements }) => elements.flatMap(({ key }) => key))

function made(...parts: Partial<World>[]): Calculator {
  const calculator = new Calculator(CALCULATOR)
  for (const part of parts) {
    tell(calculator, part)
    calculator.step()
  }
  calculator.useLearned()
  calculator.step()
  return calculator
}

const withLoops: Partial<World> = { config: { ...EMPTY.config, serviceLoops: LOOPS } }

test('nothing is wanted before all pools are known, and where no ranges are announced no table', t => {
  const calculator = new Calculator(CALCULATOR)
  tell(calculator, { ...EMPTY, ...withLoops })
  calculator.step()
  t.is(calculator.wanted().nftTable.get(KEY), undefined)
  calculator.useLearned()
  calculator.step()
  t.truthy(wordsOf(calculator))
  tell(calculator, { config: EMPTY.config })
  calculator.step()
  t.true(calculator.wanted().nftTable.get(KEY)?.absent)
  const inside = [{ cidr: '10.0.0.0/8', ipip: 'Never', vxlan: 'Never', isExchanged: true }] as const
  const serviceLoops = { action: 'drop', ranges: ['10.96.0.0/24'] } as const
  tell(calculator, { pools: inside, config: { ...EMPTY.config, serviceLoops } })
  calculator.step()
  t.true(calculator.wanted().nftTable.get(KEY)?.absent, 'pods have all of it')
})

test('addresses of nodes, of pools of pods and of subnets of this node are left out, in whatever order they are told', t => {
  const connected = [{ cidr: '2001:db8::1/96', interfaceName: 'eth0', isUp: true }]
  const pools = [
    { cidr: '10.96.0.64/26', ipip: 'Never', vxlan: 'Never', isExchanged: true },
    { cidr: '10.96.0.128/26', ipip: 'Never', vxlan: 'Never', isExchanged: true, forServicesOnly: true },
  ] as const
  const parts: Partial<World>[] = [EMPTY, withLoops, { remotes: [N2] }, { connected }, { pools }]
  const expected = [
    ...['10.96.0.0/26', '10.96.0.128/25', '192.168.10.0-192.168.10.10', '192.168.10.13-192.168.10.255'],
    '2001:db8::1:0:0-2001:db8::ffff:ffff:ffff:ffff',
  ]
  const [first, ...others] = parts
  t.deepEqual(wordsOf(made(...parts)), expected)
  t.deepEqual(wordsOf(made(first!, ...others.reverse())), expected)
  const calculator = made(...parts)
  tell(calculator, { remotes: [], pools: [], connected: [] })
  calculator.step()
  t.deepEqual(wordsOf(calculator), [
    ...['10.96.0.0/24', '192.168.10.0-192.168.10.10', '192.168.10.12-192.168.10.255', '2001:db8::/64'],
  ])
})

test('what is left of ranges is every address that is in one of them and in none of the holes', t => {
  const cidr = fc
    .record({ at: fc.nat(63), bits: fc.integer({ min: 26, max: 32 }) })
    .map(({ at, bits }) => `10.0.0.${(at >> (32 - bits)) << (32 - bits)}/${bits}`)
  fc.assert(
    fc.property(fc.array(cidr, { maxLength: 4 }), fc.array(cidr, { maxLength: 4 }), (ranges, holes) => {
      const left = subtracted(ranges.map(rangeOf), holes.map(rangeOf))
      const base = rangeOf('10.0.0.0/32').first
      for (let i = 0n; i < 66n; i++) {
        const address = fromBig(base + i, 'ipv4')
        const wanted = ranges.some(each => contains(each, address)) && !holes.some(each => contains(each, address))
        t.is(left.filter(({ first, last }) => first <= base + i && base + i <= last).length, wanted ? 1 : 0)
      }
      for (const [i, { first, last }] of left.entries()) {
        t.true(first <= last)
        t.true(i === 0 || left[i - 1]!.last + 1n < first)
      }
    }),
  )
})
