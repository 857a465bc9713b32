import test from 'ava'
import fc from 'fast-check'
import { blockName } from '../../api/names.ts'
import {
  assign,
  type Block,
  blockFaults,
  emitBlock,
  emptyBlock,
  isPublished,
  nextFree,
  parseBlock,
  release,
} from '../../ipam/block.ts'

const N1 = { node: 'n1', epoch: 'e1' }

const holder = (handle: string, secondary: Record<string, string> = {}) => ({ handle, secondary })

/** A block after a random life: numbers are handles that take a slot, or give all of theirs back. */
const lived = fc.array(fc.record({ handle: fc.nat(5), gives: fc.boolean() }), { maxLength: 40 }).map(steps => {
  let block = emptyBlock('10.0.0.0/29', 1_700_000_000_000_000_000n)
  for (const { handle, gives } of steps) {
    const ordinal = nextFree(block)
    if (gives) block = release(block, `h${handle}`).block
    else if (ordinal !== undefined) block = assign(block, holder(`h${handle}`, { pod: `p${handle}` }), ordinal)
  }
  return block
})

test('a block survives its way over the wire, and what is written never has a structural fault', t => {
  fc.assert(
    fc.property(lived, (block: Block) => {
      const written = emitBlock(block, N1)
      t.deepEqual(blockFaults(written, Date.now()), [])
      t.deepEqual(parseBlock(written), block)
    }),
  )
})

test('no slot is free and held at once, and each is one of both', t => {
  fc.assert(
    fc.property(lived, block => {
      const held = [...block.slots.keys()].filter(ordinal => block.slots[ordinal] !== null)
      t.deepEqual([...held, ...block.free].sort(), [...block.slots.keys()].sort())
    }),
  )
})

test('a released slot goes to the end of the queue', t => {
  let block = emptyBlock('10.0.0.0/30', 0n)
  block = assign(block, holder('a'), 0)
  block = release(block, 'a').block
  t.deepEqual(block.free, [1, 2, 3, 0])
})

test('releasing what is not held gives the same object back', t => {
  const block = emptyBlock('10.0.0.0/30', 0n)
  t.is(release(block, 'nobody').block, block)
})

test('holders that say the same share one attribute, and a released one takes its attribute along', t => {
  let block = emptyBlock('10.0.0.0/30', 0n)
  for (const ordinal of [0, 1]) block = assign(block, holder('a', { pod: 'p' }), ordinal)
  block = assign(block, holder('b'), 2)
  t.is(emitBlock(block, N1).spec.attributes.length, 2)
  t.deepEqual(emitBlock(block, N1).spec.allocations, [0, 0, 1, null])
  const { spec } = emitBlock(release(block, 'a').block, N1)
  t.deepEqual([spec.attributes.length, spec.allocations], [1, [null, null, 0, null]])
})

test('every assignment and release raises the sequence number, which stays exact above 2^53', t => {
  const block = assign(emptyBlock('10.0.0.0/30', 1_766_000_000_123_456_789n), holder('a'), 0)
  t.is(block.sequence, 1_766_000_000_123_456_790n)
  t.is(emitBlock(block, N1).spec.sequenceNumberForAllocation?.['0'], 1_766_000_000_123_456_790n)
  t.is(release(block, 'a').block.sequence, 1_766_000_000_123_456_791n)
})

test('a malformed block is read towards safety: allocated stays allocated, forgotten becomes free', t => {
  const base = emitBlock(assign(emptyBlock('10.0.0.0/30', 5n), holder('a'), 1), N1)
  const spec = { ...base.spec, unallocated: [1, 3, 3, 9], allocations: [null, 7, null] }
  t.true(blockFaults({ ...base, spec }, Date.now()).length >= 5)
  const block = parseBlock({ ...base, spec })
  t.deepEqual(
    block.slots.map(slot => slot?.handle ?? null),
    [null, '', null, null],
  )
  t.deepEqual(block.free, [3, 0, 2])
})

test('what others put into a block stays in it', t => {
  const base = emitBlock(emptyBlock('10.0.0.0/30', 5n), N1)
  const theirs = {
    ...base,
    spec: { ...base.spec, affinityClaimTime: 'x' },
    metadata: { ...base.metadata, labels: { a: 'b' } },
  }
  const written = emitBlock(assign(parseBlock(theirs), holder('a'), 0), N1, theirs)
  t.is(written.spec['affinityClaimTime'], 'x')
  t.deepEqual(written.metadata.labels, { a: 'b' })
})

test('a block is published when the object has its holders, its queue and its number, from the same journal', t => {
  const a = assign(emptyBlock('10.0.0.0/30', 0n), holder('a', { x: '1', y: '2' }), 0)
  const b = assign(emptyBlock('10.0.0.0/30', 0n), holder('a', { y: '2', x: '1' }), 0)
  t.true(isPublished(a, emitBlock(b, N1), N1))
  t.false(isPublished(a, emitBlock({ ...release(b, 'a').block, sequence: a.sequence }, N1), N1))
  t.false(isPublished(a, emitBlock({ ...b, sequence: 9n }, N1), N1))
  t.false(isPublished(a, emitBlock(b, { ...N1, epoch: 'e2' }), N1))
})

test('the name of a block is its CIDR with dashes', t => {
  t.is(blockName('10.244.1.0/26'), '10-244-1-0-26')
  t.is(blockName('fd00::40/122'), 'fd00--40-122')
})
