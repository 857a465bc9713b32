import test from 'ava'
import { SessionBook } from '../../../bgp/bfd/book.ts'
import type { BfdSessionConfig } from '../../../bgp/bfd/config.ts'

const good: BfdSessionConfig = { local: '192.0.2.1', peer: '192.0.2.2' }
const key = { id: 1, secret: 'sesame' }

/** What is refused, and what is said. */
const refused: readonly [more: object, said: RegExp][] = [
  [{ peer: 'router' }, /peer router is no address/],
  [{ peer: '224.0.0.1' }, /no address of a host/],
  [{ peer: '2001:DB8::1' }, /no address of a host/],
  [{ peer: '2001:db8::1' }, /two address families/],
  [{ local: '0.0.0.0' }, /local 0\.0\.0\.0 is no address/],
  [{ local: 'fe80::1', peer: 'fe80::2' }, /name the interface/],
  [{ interface: 'eth0', multihop: { minTtl: 1 } }, /bound to no interface/],
  [{ multihop: { minTtl: 0 } }, /minTtl 0 is not 1-255/],
  [{ multihop: { minTtl: 256 } }, /minTtl 256/],
  [{ desiredMinTxMs: 49 }, /desiredMinTxMs 49 is not 50-60000/],
  [{ requiredMinRxMs: 60_001 }, /requiredMinRxMs 60001/],
  [{ requiredMinRxMs: 50.5 }, /requiredMinRxMs 50\.5/],
  [{ multiplier: 0 }, /multiplier 0 is not 1-255/],
  [{ multiplier: 256 }, /multiplier 256/],
  [{ authentication: { type: 'md5', keys: [key] } }, /sha1 or meticulous-sha1/],
  [{ authentication: { type: 'sha1', keys: [] } }, /no key/],
  [{ authentication: { type: 'sha1', keys: [key, key] } }, /two keys of authentication have one id/],
  [{ authentication: { type: 'sha1', keys: [{ id: 256, secret: 'x' }] } }, /key id 256/],
  [{ authentication: { type: 'sha1', keys: [{ id: 1, secret: '' }] } }, /has 0 octets/],
  [{ authentication: { type: 'sha1', keys: [{ id: 1, secret: 'é'.repeat(11) }] } }, /has 22 octets, not 1-20/],
]

test('a session that cannot be right is refused with what is wrong, and nothing is noted', t => {
  for (const [more, said] of refused) {
    const book = new SessionBook()
    t.regex(book.set('s', { ...good, ...more } as BfdSessionConfig) ?? 'nothing was said', said)
    t.false(book.delete('s'))
  }
})

test('no secret is in what is said', t => {
  const secret = 'open-sesame-open-sesame'
  const authentication = { type: 'sha1' as const, keys: [{ id: 1, secret }] }
  t.false(new SessionBook().set('s', { ...good, authentication })!.includes('sesame'))
})

test('a path has one session; by link, by hops and in the other direction it is another path', t => {
  const book = new SessionBook()
  t.is(book.set('a', good), undefined)
  t.is(book.set('b', good), 'session a has the same path')
  t.is(book.set('b', { ...good, interface: 'eth0' }), undefined)
  t.is(book.set('c', { ...good, multihop: { minTtl: 9 } }), undefined)
  t.is(book.set('d', { local: good.peer, peer: good.local }), undefined)
  // a session that changes, also to another path, and the one that takes its old one
  t.is(book.set('a', { ...good, multiplier: 5 }), undefined)
  t.is(book.set('a', { ...good, peer: '192.0.2.9' }), undefined)
  t.is(book.set('e', good), undefined)
  t.true(book.delete('e'))
  t.is(book.set('f', good), undefined)
})

test('there are 4,096 sessions at the most, of which each may change', t => {
  const book = new SessionBook()
  const to = (i: number) => ({ local: '192.0.2.1', peer: `198.18.${i >> 8}.${i & 255}` })
  for (let i = 0; i < 4096; i++) t.is(book.set(`${i}`, to(i)), undefined)
  t.is(book.set('more', to(4096)), 'there are 4096 sessions already')
  t.is(book.set('7', to(4096)), undefined)
  t.true(book.delete('8'))
  t.is(book.set('more', to(7)), undefined)
})
