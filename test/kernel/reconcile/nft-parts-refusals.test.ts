// A table in parts where the kernel refuses, loses answers and cannot be read: who says that it is in sync is right.
import test from 'ava'
import fc from 'fast-check'
import { ERRNO, KernelError } from '../../../kernel/port/error.ts'
import type { NftChange } from '../../../kernel/port/nftables.ts'
import type { Refusal } from '../../../kernel/reconcile/outcome.ts'
import { all, bench, DISPATCH, goto, HOOK, OF, peers, profile, rule, TABLE, turn, withPorts } from './parts-world.ts'

type Bench = ReturnType<typeof bench>
type Wanted = { members: Set<string>; ports: string[]; sets: readonly string[] }

const flushed = (kind: 'chain' | 'set', name: string): NftChange => ({ verb: 'flush', object: { kind, ...OF, name } })
const chain = (verb: 'add' | 'delete', name: string): NftChange => ({ verb, object: { kind: 'chain', ...OF, name } })
const lost = () => new KernelError(ERRNO.ENOBUFS, 'wait for', 'netlink', 'answers were lost')

/** A bench whose kernel refuses objects of one name, does or does not do what it gives no answer to, and cannot be read, as it is told. */
function harsh() {
  const it = bench()
  const { changeNftables, nftables } = it.kernel
  const is = { refused: '', lost: 0, isDone: false, unread: 0 }
  it.refuse = ({ object }) => {
    const of =
      object.kind === 'rule' ? object.chain : object.kind === 'elements' ? object.set : 'name' in object && object.name
    return is.refused === `${object.kind} ${of}` ? ERRNO.ENOENT : undefined
  }
  it.kernel.changeNftables = async changes => {
    if (is.lost-- <= 0) return changeNftables(changes)
    if (is.isDone) await changeNftables(changes)
    throw lost()
  }
  it.kernel.nftables = async (...of) => {
    if (is.unread-- > 0) throw lost()
    return nftables(...of)
  }
  return { ...it, is }
}

function want({ parts }: Pick<Bench, 'parts'>, { members, ports, sets }: Wanted): void {
  parts.wantSet('to', DISPATCH)
  parts.wantSet('web', peers('web'))
  parts.wantSet('nets', { ...peers('nets'), flags: ['interval'] })
  parts.wantElement('nets', '10.8.0.0/16', 'member')
  for (const key of ['10.0.0.1', '10.0.0.2']) parts.wantElement('web', key, members.has(key) ? 'member' : undefined)
  parts.wantChain('p1', profile('p1', ...sets))
  parts.wantChain('p2', withPorts('p2', ...ports))
  parts.wantChain('forward', HOOK)
  for (const name of ['cali1', 'cali2']) parts.wantElement('to', name, goto(name === 'cali1' ? 'p1' : 'p2'))
}

async function pass({ parts }: Pick<Bench, 'parts'>): Promise<Refusal[]> {
  await turn()
  const outcomes = [await parts.put(), await parts.remove(all)]
  await turn()
  return outcomes.flatMap(({ refused }) => refused)
}

/** What whoever reads all of the table would write into it. */
async function lacking({ world }: Pick<Bench, 'world'>, wanted: Wanted): Promise<NftChange[][]> {
  const fresh = bench(world)
  want(fresh, wanted)
  await pass(fresh)
  return fresh.sent
}

test('a transaction that was done and whose answer was lost, after another one like it was not done, is not done twice', async t => {
  const it = harsh()
  const wanted = { members: new Set<string>(), ports: ['80'], sets: ['web'] }
  want(it, wanted)
  it.is.refused = 'chain p2'
  t.true((await pass(it)).length > 0)
  Object.assign(it.is, { lost: 3, isDone: true })
  await pass(it)
  it.is.refused = ''
  await pass(it)
  await pass(it)
  t.deepEqual(await lacking(it, wanted), [])
})

type Happening =
  | { foreign: NftChange[] }
  | { member: string; isWanted: boolean }
  | { ports: string[] }
  | { sets: readonly string[] }
  | { is: Partial<ReturnType<typeof harsh>['is']> }
  | 'turn'
  | 'pass'
const foreign: fc.Arbitrary<NftChange> = fc.oneof(
  fc.constantFrom('p1', 'p2', 'forward').map(name => flushed('chain', name)),
  fc.constantFrom('web', 'to').map(name => flushed('set', name)),
  fc.constantFrom('p1', 'p2', 'forward', 'strange').map(name => chain('delete', name)),
  fc.constantFrom('p1', 'strange').map(name => chain('add', name)),
  fc.constantFrom('p1', 'p2', 'forward').map((name): NftChange => ({ verb: 'add', object: rule(name, 'foreign') })),
  fc.constantFrom('add' as const, 'delete' as const).map((verb): NftChange => ({ verb, object: TABLE })),
)
const refused = [
  'set web',
  'chain p1',
  'rule p1',
  'chain p2',
  'rule p2',
  'elements web',
  'elements to',
  'rule forward',
  'table ours',
]
const happening: fc.Arbitrary<Happening> = fc.oneof(
  fc.record({ foreign: fc.array(foreign, { minLength: 1, maxLength: 3 }) }),
  fc.record({ member: fc.constantFrom('10.0.0.1', '10.0.0.2'), isWanted: fc.boolean() }),
  fc.record({ ports: fc.uniqueArray(fc.constantFrom('80', '443'), { minLength: 1 }) }),
  fc.record({ sets: fc.constantFrom(['web'], ['nets'], ['web', 'nets']) }),
  fc.record({ is: fc.record({ refused: fc.constantFrom('', ...refused) }) }),
  {
    weight: 3,
    arbitrary: fc.record({ is: fc.record({ lost: fc.integer({ min: 1, max: 6 }), isDone: fc.boolean() }) }),
  },
  fc.record({ is: fc.record({ unread: fc.integer({ min: 1, max: 3 }) }) }),
  fc.constant('turn' as const),
  { weight: 4, arbitrary: fc.constant('pass' as const) },
)

test('whatever is refused, lost or changed by others, a table that is said to be in sync is so, and it is once nothing is refused', async t => {
  let checked = 0
  await fc.assert(
    fc.asyncProperty(fc.array(happening, { maxLength: 30 }), async happenings => {
      const it = harsh()
      const wanted: Wanted = { members: new Set(), ports: ['80'], sets: ['web'] }
      want(it, wanted)
      for (const each of happenings) {
        if (each === 'turn') await turn()
        else if (each === 'pass') {
          if ((await pass(it)).length > 0 || !it.parts.isInSync) continue
          checked++
          t.deepEqual(await lacking(it, wanted), [])
        } else if ('foreign' in each) await it.otherProgram.changeNftables(each.foreign)
        else if ('is' in each) Object.assign(it.is, each.is)
        else {
          if ('ports' in each || 'sets' in each) Object.assign(wanted, each)
          else if (each.isWanted) wanted.members.add(each.member)
          else wanted.members.delete(each.member)
          want(it, wanted)
        }
      }
      Object.assign(it.is, { refused: '', lost: 0, unread: 0 })
      await pass(it)
      await pass(it)
      t.deepEqual(await pass(it), [])
      t.deepEqual(await lacking(it, wanted), [])
    }),
    { numRuns: 1_000 },
  )
  t.true(checked > 500, `${checked}`)
})
