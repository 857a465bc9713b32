// A node full of pods that all ask for as many long names as they may, and have their answers expire at once.
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import test from 'ava'
import { DomainAnswers, type ToldName } from '../../../felix/dns/answers.ts'
import { PolicyCalculator } from '../../../felix/policy/calculator.ts'
import { TABLE } from '../policy/kept-table.ts'

const MIB = 1024 * 1024
const PODS = 250
/** Octets that a name may have at most (RFC 1035 §2.3.4), less dots at its ends. */
const NAME_OCTETS = 253

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void
function heapMiB(): number {
  collect()
  return process.memoryUsage().heapUsed / MIB
}

const nameOf = (pod: number, number: number) => {
  const end = `.${pod}.${number}.example.com`
  const begin = `${'a'.repeat(60)}.`.repeat(5).slice(0, NAME_OCTETS - end.length - 1)
  return `${begin}a${end}`
}

test('what 250 hostile pods were told under as many names as they like is bounded for the node', t => {
  const calculator = new PolicyCalculator(TABLE)
  const answers = new DomainAnswers()
  const before = heapMiB()
  for (let from = 0; from < 400; from += 100) {
    for (let pod = 0; pod < PODS; pod++)
      for (let i = from; i < from + 100; i++) {
        const name = nameOf(pod, i)
        const { names } = answers.tell(
          `${pod}`,
          name,
          [{ address: `198.51.${i >> 8}.${i & 255}`, ttlSeconds: 86_400 }],
          0,
        )
        for (const each of names) {
          const isNone = each.addresses.length + each.expired.length === 0
          calculator.setAnswer(`${each.pod} ${each.name}`, isNone ? undefined : { from: ['10.244.0.1'], ...each })
        }
      }
    calculator.step()
  }
  const grownMiB = heapMiB() - before
  t.log(`${answers.size} addresses in ${Math.round(grownMiB)} MiB`)
  t.true(answers.size <= 65_536 && answers.size > 60_000)
  t.true(grownMiB < 130, `${grownMiB} MiB`)
})

test('what 250 hostile pods leave behind in names that expired is bounded for the node, and one that asks little keeps what it was told', t => {
  const calculator = new PolicyCalculator(TABLE)
  const answers = new DomainAnswers()
  const addressOf = (pod: string) => `10.244.${Number(pod) >> 8}.${Number(pod) & 255}`
  const kept = new Map<string, number>()
  const tell = (names: readonly ToldName[]) => {
    for (const { pod, name, addresses, expired } of names) {
      const isNone = addresses.length + expired.length === 0
      const from = [addressOf(pod)]
      calculator.setAnswer(`${pod} ${name}`, isNone ? undefined : { from, name, addresses, expired })
      if (expired.length === 0) kept.delete(`${pod} ${name}`)
      else kept.set(`${pod} ${name}`, expired.length)
    }
  }
  const before = heapMiB()
  let nowMs = 0
  const round = (pod: number, names: number, from = 0) => {
    for (let i = from; i < from + names; i++) {
      const address = `198.51.${(i >> 8) & 255}.${i & 255}`
      tell(answers.tell(`${pod}`, nameOf(pod, i), [{ address, ttlSeconds: 0 }], nowMs).names)
    }
  }
  const expire = () => {
    for (let parts = answers.expire(nowMs); parts.length > 0; parts = answers.expire(nowMs)) {
      t.true(parts.length < 1000, 'others have a turn in between')
      tell(parts)
    }
  }
  round(0, 3)
  nowMs += 10_000
  expire()
  for (let from = 0; from < 1000; from += 250) {
    for (let pod = 1; pod <= PODS; pod++) round(pod, 250, from)
    nowMs += 10_000
    expire()
    calculator.step()
  }
  const grownMiB = heapMiB() - before
  t.log(`${kept.size} names that expired are kept, in ${Math.round(grownMiB)} MiB`)
  t.true(kept.size <= 16_384)
  t.is([...kept.keys()].filter(key => key.startsWith('0 ')).length, 3)
  t.true(grownMiB < 80, `${grownMiB} MiB`)
})

test('names with a thousand addresses each that expire at once, or one address a second, are taken in some at a time', t => {
  const answers = new DomainAnswers()
  const tell = (ttlOf: (i: number) => number, nowMs: number) => {
    for (let pod = 0; pod < 64; pod++) {
      const told = Array.from({ length: 1024 }, (_, i) => {
        return { address: `198.51.${i >> 8}.${i & 255}`, ttlSeconds: ttlOf(i) }
      })
      answers.tell(`${pod}`, 'a.example.com', told, nowMs)
    }
  }
  const costs = (nowMs: number) => {
    const all: number[] = []
    for (let part = answers.expire(nowMs); part.length > 0; part = answers.expire(nowMs))
      all.push(part.reduce((sum, { addresses, expired }) => sum + addresses.length + expired.length, 0))
    return all
  }
  for (const [ttlOf, nowMs] of [
    [() => 10, 0],
    [(i: number) => 10 + i, 20_000],
  ] as const) {
    tell(ttlOf, nowMs)
    const parts = costs(nowMs + 11_000)
    t.true(parts.length >= 32, `${parts.length} parts`)
    t.true(Math.max(...parts) <= 5000, `${Math.max(...parts)} addresses in one`)
  }
})
