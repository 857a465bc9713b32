// Answers of DNS as they are, as they should not be, and as anybody could make them.
import { createSocket } from 'node:dgram'
import { Resolver } from 'node:dns/promises'
import test from 'ava'
import fc from 'fast-check'
import { readAnswer } from '../../../felix/dns/message.ts'
import { addressesOf, type Entry, emitMessage, FLAGS, type Message, TYPE } from './messages.ts'

const question = { name: 'www.example.com', type: TYPE.A } as const
const a = (owner: string, address: string, ttl = 60): Entry => ({ owner, type: 'A', ttl, address })
const cname = (owner: string, target: string, ttl = 60): Entry => ({ owner, type: 'CNAME', ttl, target })
const read = (message: Message) => readAnswer(emitMessage(message))

test('an answer gives its addresses to the name that was asked, in lower case, in either family', t => {
  t.deepEqual(readAnswer(addressesOf('WWW.Example.com', ['192.0.2.1', '192.0.2.2', '192.0.2.1'], 30)), {
    name: 'www.example.com',
    addresses: ['192.0.2.1', '192.0.2.2'],
    ttlSeconds: 30,
  })
  t.deepEqual(readAnswer(addressesOf('www.example.com', ['2001:db8::1'], 7)), {
    name: 'www.example.com',
    addresses: ['2001:db8::1'],
    ttlSeconds: 7,
  })
})

test('a chain of aliases in one answer counts for the name at its beginning, whatever its order, with the lowest TTL', t => {
  const chain = [cname('www.example.com', 'edge.example.net', 300), cname('edge.example.net', 'x.cdn.test', 20)]
  const answers = [a('x.cdn.test', '192.0.2.1', 90), a('x.cdn.test', '192.0.2.2', 80)]
  for (const order of [
    [...chain, ...answers],
    [...answers, ...chain.toReversed()],
  ])
    t.deepEqual(read({ question, answers: order }), {
      name: 'www.example.com',
      addresses: ['192.0.2.1', '192.0.2.2'],
      ttlSeconds: 20,
    })
  t.is(read({ question, answers: chain }), undefined)
  t.is(read({ question, answers: [cname('www.example.com', 'b.test'), cname('b.test', 'www.example.com')] }), undefined)
  const long = Array.from({ length: 40 }, (_, i) => cname(i === 0 ? question.name : `n${i}.test`, `n${i + 1}.test`))
  t.is(read({ question, answers: [...long, a('n40.test', '192.0.2.1')] }), undefined)
})

test('records of another name than the one that was asked count for nobody', t => {
  t.is(read({ question, answers: [a('other.example.com', '192.0.2.1')] }), undefined)
  const smuggled = read({
    question: { ...question, name: 'evil.test' },
    answers: [cname('evil.test', 'www.example.com'), a('www.example.com', '203.0.113.6')],
  })
  t.is(smuggled?.name, 'evil.test')
})

test('what is no answer without an error to one question for addresses in the Internet is nothing', t => {
  const answers = [a(question.name, '192.0.2.1')]
  for (const flags of [0x0100, 0x8183, 0x8185, 0xa800 | 0x180])
    t.is(read({ question, answers, flags }), undefined, flags.toString(16))
  t.is(read({ answers }), undefined)
  t.is(read({ question: { ...question, type: TYPE.TXT }, answers }), undefined)
  t.is(read({ question: { ...question, type: TYPE.AAAA }, answers }), undefined)
  t.is(read({ question: { ...question, class: 3 }, answers }), undefined)
  t.is(read({ question }), undefined)
  const two = emitMessage({ question, answers })
  two[5] = 2
  t.is(readAnswer(two), undefined)
})

test('what a message that was cut off has whole counts, with the bit TC and without', t => {
  const addresses = Array.from({ length: 120 }, (_, i) => `192.0.2.${i + 1}`)
  const whole = addressesOf(question.name, addresses)
  t.is(readAnswer(whole)?.addresses.length, 120)
  const short = Uint8Array.from(whole.subarray(0, 512))
  short[2]! |= 2
  t.is(readAnswer(short)?.addresses.length, 29)
  const lengths = Array.from(
    { length: whole.length + 1 },
    (_, i) => readAnswer(whole.subarray(0, i))?.addresses.length ?? 0,
  )
  t.deepEqual(
    lengths,
    lengths.toSorted((x, y) => x - y),
  )
  t.is(lengths.at(-1), 120)
})

test('a TTL with the highest bit is none, and addresses that are nobody’s in one family are left out', t => {
  t.is(read({ question, answers: [a(question.name, '192.0.2.1', 0x80000001)] })?.ttlSeconds, 0)
  t.is(read({ question, answers: [a(question.name, '0.0.0.0')] }), undefined)
  t.is(readAnswer(addressesOf(question.name, ['::ffff:c000:201'])), undefined)
})

test('a pointer forward, one to itself, a long name and octets that no name of a host has end the reading', t => {
  const header = [0, 7, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]
  const tail = [0, 1, 0, 1, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1]
  const of = (...name: number[]) => readAnswer(Uint8Array.from([...header, ...name, ...tail]))
  t.is(of(1, 0x61, 0)?.name, 'a')
  t.is(of(0xc0, 12), undefined)
  t.is(of(0xc0, 14), undefined)
  t.is(of(1, 0x61, 0xc0, 12), undefined)
  t.is(of(0x41, 0x61, 0), undefined)
  t.is(of(0), undefined)
  // a dot within a label is no dot between labels
  t.is(of(3, 0x61, 0x2e, 0x62, 0), undefined)
  const label = [63, ...Array.from({ length: 63 }, () => 0x61)]
  t.truthy(of(...label, ...label, ...label, 61, ...label.slice(1, 62), 0))
  t.is(of(...label, ...label, ...label, 62, ...label.slice(1, 63), 0), undefined)
})

const label = fc.stringMatching(/^[a-z0-9_]([-a-z0-9_]{0,20}[a-z0-9])?$/)
const name = fc.array(label, { minLength: 1, maxLength: 5 }).map(labels => labels.join('.'))
const address = fc.integer({ min: 0x0b000000, max: 0xdfffffff }).map(value => {
  return [24, 16, 8, 0].map(shift => (value >>> shift) & 255).join('.')
})
const answer = fc.record({
  name,
  chain: fc.uniqueArray(name, { maxLength: 6 }),
  addresses: fc.uniqueArray(address, { minLength: 1, maxLength: 130 }),
  ttl: fc.integer({ min: 0, max: 0x7fffffff }),
  compressed: fc.boolean(),
})

test('what is written is read, with pointers and without', t => {
  fc.assert(
    fc.property(answer, ({ name, chain, addresses, ttl, compressed }) => {
      const names = [name, ...chain.filter(each => each !== name)]
      const aliases = names.slice(1).map((target, i) => cname(names[i]!, target, ttl))
      const answers = [...aliases, ...addresses.map(each => a(names.at(-1)!, each, ttl))]
      const message = { question: { name, type: TYPE.A }, answers, compressed }
      t.deepEqual(read(message), { name, addresses, ttlSeconds: ttl })
    }),
    { numRuns: 300 },
  )
})

test('arbitrary octets, and messages with some octets changed, are read or not, and never for long', t => {
  const changed = fc
    .tuple(answer, fc.array(fc.tuple(fc.nat(2000), fc.nat(255)), { maxLength: 8 }))
    .map(([{ name, addresses, ttl }, changes]) => {
      const octets = addressesOf(name, addresses, ttl)
      for (const [at, value] of changes) octets[at % octets.length] = value
      return octets
    })
  const begun = fc
    .uint8Array({ maxLength: 300 })
    .map(rest => Uint8Array.from([0, 7, 0x81, 0x80, 0, 1, 255, 255, 0, 0, 0, 0, ...rest]))
  fc.assert(
    fc.property(fc.oneof(fc.uint8Array({ maxLength: 600 }), begun, changed), octets => {
      const found = readAnswer(octets)
      if (found !== undefined) t.regex(found.name, /^[-_a-z0-9]+(\.[-_a-z0-9]+)*$/)
    }),
    { numRuns: 3000 },
  )
  // 64 KiB of pointers to pointers
  const worst = new Uint8Array(65535).fill(0)
  worst.set([0, 7, 0x81, 0x80, 0, 1, 255, 255])
  worst.set([1, 0x61, 0, 0, 1, 0, 1], 12)
  for (let at = 19; at + 12 <= 65535; at += 12) worst.set([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 0], at)
  t.is(readAnswer(worst), undefined)
})

test('a resolver of others reads the same addresses, aliases included', async t => {
  const server = createSocket('udp4')
  const answers: Entry[] = [
    cname(question.name, 'x.cdn.test', 20),
    a('x.cdn.test', '192.0.2.1', 90),
    a('x.cdn.test', '192.0.2.2', 90),
  ]
  const sent: Uint8Array[] = []
  server.on('message', (octets, { address, port }) => {
    sent.push(emitMessage({ id: octets.readUInt16BE(0), flags: FLAGS, question, answers }))
    server.send(sent.at(-1)!, port, address)
  })
  await new Promise<void>(resolve => void server.bind(0, '127.0.0.1', resolve))
  const resolver = new Resolver({ timeout: 2000, tries: 2 })
  resolver.setServers([`127.0.0.1:${server.address().port}`])
  const found = await resolver.resolve4(question.name)
  server.close()
  t.deepEqual(readAnswer(sent[0]!), { name: question.name, addresses: found, ttlSeconds: 20 })
})
