// Which parts of a table are read again for one interface, and what is told of them.
import test from 'ava'
import type { NftChange } from '../../../kernel/port/nftables.ts'
import { bench, OF, peers, profile, rule, wantUsual } from './parts-world.ts'

type Bench = ReturnType<typeof bench>

async function written(want: (it: Bench) => void = () => {}): Promise<Bench> {
  const it = bench()
  wantUsual(it)
  want(it)
  await it.parts.put()
  it.read.length = 0
  return it
}

const flush = (name: string): NftChange => ({ verb: 'flush', object: { kind: 'chain', ...OF, name } })

test('ADD reads what leads to the rules of an interface and these; CHECK base chains and the sets of their rules too', async t => {
  const it = await written(({ parts }) => {
    parts.wantSet('cut', { ...peers('cut'), type: 'ifname' })
    parts.wantSet('other', peers('other'))
    parts.wantChain('p2', profile('p2', 'other'))
  })
  t.deepEqual(await it.parts.differences('cali1', 'rules'), [])
  t.deepEqual(await it.parts.differences('cali1', 'all'), [])
  t.deepEqual(it.read, [
    { chains: ['p1'], sets: ['to'], elements: [] },
    { chains: ['forward', 'p1'], sets: ['to', 'cut', 'web'], elements: [] },
  ])
})

test('a set of 1,000 elements is read for CHECK, and a larger one is not', async t => {
  const it = await written()
  for (let i = 0; i < 1000; i++) it.parts.wantElement('web', `10.1.${i >> 8}.${i & 255}`, 'member')
  for (const [wanted, sets] of [
    [undefined, ['to', 'web']],
    ['member', ['to']],
  ] as const) {
    it.parts.wantElement('web', '10.0.0.1', wanted)
    await it.parts.put()
    it.read.length = 0
    await it.parts.differences('cali1', 'all')
    t.deepEqual(it.read, [{ chains: ['forward', 'p1'], sets, elements: [] }])
  }
})

test('of the rules of a chain the first is told that is missing, added or another one', async t => {
  const told = async (...changes: NftChange[]) => {
    const it = await written(({ parts }) => parts.wantChain('p1', profile('p1', 'web', 'web')))
    t.deepEqual(await it.otherProgram.changeNftables(changes), [])
    return it.parts.differences('cali1', 'rules')
  }
  const add = (comment: string): NftChange => ({ verb: 'add', object: rule('p1', comment) })
  t.deepEqual(await told(flush('p1')), [{ object: 'rule 1 of inet ours p1 "web"', is: 'missing' }])
  t.deepEqual(await told(add('foreign')), [{ object: 'rule 3 of inet ours p1 "foreign"', is: 'added' }])
  const others = [flush('p1'), add('foreign'), add('more')]
  t.deepEqual(await told(...others), [{ object: 'rule 1 of inet ours p1 "web"', is: 'changed' }])
})
