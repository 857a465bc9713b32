// The faults of the lab, and a lab that is kept: each in it is put in by one process and taken out by another. All of them are
// played by `npm run faults`, which takes a quarter of an hour.
import test, { type ExecutionContext } from 'ava'
import { CAUSES } from '../../explain/causes.ts'
import { explained } from '../../lab/ctl.ts'
import { FAULTS, faultOf } from '../../lab/faults/catalogue.ts'
import { factsOf, faultsIn, putIn, takeOut } from '../../lab/faults/deeds.ts'
import { type Facts, type Fault, question, symptom } from '../../lab/faults/fault.ts'
import { passes, prepare } from '../../lab/faults/traffic.ts'
import { isExplained, isWord, type Said } from '../../lab/faults/words.ts'
import { Lab } from '../../lab/lab.ts'
import { isAlive, until } from '../../lab/program.ts'
import { findLab, removeLab } from '../../lab/remains.ts'
import { leftNamespaces } from '../../lab/topology.ts'
import { ANSWER_MS } from '../slowness.ts'
import { sweepTestLabs, testLabOptions } from './temporary.ts'

const isRoot = process.geteuid?.() === 0
const options = testLabOptions({ patience: 3 })

const rootTest = (title: string, check: (t: ExecutionContext) => Promise<void>): void =>
  test.serial(title, async t => {
    if (isRoot) return check(t)
    t.log('skipped: needs root, for network namespaces')
    t.pass()
  })

test.before(async t => {
  if (!isRoot) return
  t.timeout(90_000)
  await sweepTestLabs()
  await using lab = new Lab(options)
  await lab.start()
  await Promise.all([lab.routesKnown(), lab.reportPods()])
  lab.keep()
})

test.after.always(async () => {
  if (isRoot) await removeLab(options.dir, options.prefix)
})

const facts: Facts = {
  address: { n1: '192.0.2.1', n2: '192.0.2.2', n3: '192.0.2.3' },
  block: { n1: '10.0.1.0/26', n2: '10.0.2.0/26', n3: '10.0.3.0/26' },
  mac: { n1: '02:00:00:00:00:01', n2: '02:00:00:00:00:02', n3: '02:00:00:00:00:03' },
  ip: Object.fromEntries(['n1', 'n2', 'n3'].flatMap((node, i) => [1, 2].map(p => [`${node}-p${p}`, `10.0.${i}.${p}`]))),
  cali: Object.fromEntries(['n1', 'n2', 'n3'].flatMap(node => [1, 2].map(p => [`${node}-p${p}`, `cali${node}${p}`]))),
} as Facts

test('every fault can be told by number, by name and by what people see, and has what puts it in and takes it out', t => {
  t.true(FAULTS.length >= 24)
  t.deepEqual(FAULTS.map(({ number }) => number).toSorted(), [...new Set(FAULTS.map(({ number }) => number))])
  for (const fault of FAULTS) {
    const { number, name, cause, remedy, inject, heal, named, explained } = fault
    t.regex(number, /^\d\d$/)
    t.is(faultOf(number), fault)
    t.is(faultOf(name), fault)
    for (const text of [cause, remedy, symptom(fault)]) t.true(text.length > 10, name)
    t.false(symptom(fault).includes(cause))
    t.true(explained === 'healed' || explained.code in CAUSES, name)
    t.true(inject(facts).length > 0 && heal(facts).length > 0, name)
    const texts = JSON.stringify([inject(facts), heal(facts), named(facts)])
    t.notRegex(texts, /undefined|\$\{/, `${name} asks for what the lab does not have`)
  }
  t.is(faultOf('33'), undefined)
})

const said: Said = {
  ...{
    at: 'n1',
    of: 'condition',
    type: 'ForeignRoutesPass',
    reason: 'ForeignRoute',
    message: 'the route 10.0.2.1/32 is',
  },
  object: { kind: 'Route', name: '10.0.2.1/32' },
}

test('a fault is named by the condition of its type and reason, on its node, about its object', t => {
  const word = { at: 'n1', condition: 'ForeignRoutesPass', reason: 'ForeignRoute', about: '10.0.2.1' } as const
  t.true(isWord(word, said))
  t.false(isWord(word, { ...said, at: 'n2' }))
  t.false(isWord(word, { ...said, reason: 'ForeignRule' }))
  t.false(isWord(word, { ...said, of: 'event' }))
  t.false(isWord({ ...word, about: '10.0.3.1' }, said))
})

test('a fault is named by the event of its type, about an object of its kind', t => {
  const word = { at: 'n1', event: 'Healed', kind: 'Route', about: '10.0.2.1' } as const
  const event: Said = { ...said, of: 'event', type: 'Healed', reason: 'ChangedByOther' }
  t.true(isWord(word, event))
  t.false(isWord(word, { ...event, object: { kind: 'Link', name: '10.0.2.1/32' } }))
  t.false(isWord({ ...word, reason: 'Other' } as typeof word, event))
})

test('explain names a fault by the code of its first cause and its node, or by a note that it was healed', t => {
  const since = '2026-01-02T00:00:00.000Z'
  const words = [{ at: 'n1', event: 'Healed', kind: 'Route', about: '10.0.2.0/26' }] as const
  const first = {
    ...({ code: 'RouteShadowed', effect: 'all', node: 'n1', message: '', remedy: '', page: '' } as const),
    setBy: { who: 'foreign', text: '' } as const,
  }
  const shadowed = { explained: { at: 'n1', code: 'RouteShadowed' } } as const
  t.true(isExplained(shadowed, words, { verdict: 'stopped', first, notes: [] }, since))
  t.false(isExplained(shadowed, words, { verdict: 'stopped', first: { ...first, node: 'n2' }, notes: [] }, since))
  t.false(
    isExplained(shadowed, words, { verdict: 'stopped', first: { ...first, code: 'RouteMissing' }, notes: [] }, since),
  )
  t.false(isExplained(shadowed, words, { verdict: 'unknown', notes: [] }, since))
  const notes = [{ node: 'n1', at: '2026-01-02T00:00:01.000Z', text: 'Healed Route 10.0.2.0/26: it was deleted' }]
  const healed = { explained: 'healed' } as const
  t.true(isExplained(healed, words, { verdict: 'passes', notes }, since))
  t.false(isExplained(healed, words, { verdict: 'unknown', notes }, since))
  t.false(isExplained(healed, words, { verdict: 'passes', notes: [{ ...notes[0]!, node: 'n2' }] }, since))
  t.false(isExplained(healed, words, { verdict: 'passes', notes: [] }, since))
  t.false(isExplained(healed, words, { verdict: 'passes', notes }, '2026-01-02T00:00:02.000Z'), 'that was another time')
})

rootTest(
  'a lab that is kept outlives the process that made it, and none that is not there is gone on with',
  async t => {
    t.is(findLab(options.dir)?.status, 'kept')
    t.true(findLab(options.dir)!.state.processes.every(isAlive))
    await using lab = Lab.kept(options)
    const pairs = await lab.pingPairs()
    t.is(pairs.length, 30)
    t.deepEqual(
      pairs.filter(({ ms }) => ms === undefined),
      [],
    )
    t.throws(() => Lab.kept({ ...options, dir: `${options.dir}-none` }), { message: /no lab was kept/ })
  },
)

/** A node that has no time leaves its steps open. */
async function names(lab: Lab, { breaks, explained: wanted }: Fault): Promise<boolean> {
  const { first } = await explained(lab, question(breaks))
  return first !== undefined && wanted !== 'healed' && first.code === wanted.code && first.node === wanted.at
}

for (const number of ['03', '39'])
  rootTest(`fault ${number} breaks what it says until another process takes it out`, async t => {
    const fault = faultOf(number)!
    const works = (lab: Lab, wanted: boolean) =>
      until(async () => (await passes(lab, fault.breaks)) === wanted, ANSWER_MS)
    {
      await using lab = Lab.kept(options)
      await prepare(lab, fault.breaks)
      t.true(await works(lab, true))
      await putIn(lab, fault, await factsOf(lab))
      t.true(await works(lab, false))
      if (number === '03') t.true(await until(() => names(lab, fault), ANSWER_MS), 'explain names it')
    }
    await using lab = Lab.kept(options)
    t.deepEqual(
      faultsIn(lab).map(({ name }) => name),
      [fault.name],
    )
    t.deepEqual(await takeOut(lab), [fault.name])
    t.deepEqual(faultsIn(lab), [])
    t.true(await works(lab, true))
  })

rootTest(
  'an agent that a fault killed is started again by another process, and a kept lab is removed with it',
  async t => {
    const fault = faultOf('45')!
    {
      await using lab = Lab.kept(options)
      await putIn(lab, fault, await factsOf(lab))
      await t.throwsAsync(lab.peers(), { message: /agent of n2 did not say/ })
    }
    {
      await using lab = Lab.kept(options)
      await takeOut(lab)
      t.true((await lab.peers()).some(({ node }) => node === 'n2'))
    }
    t.true(await removeLab(options.dir, options.prefix))
    t.deepEqual(leftNamespaces(options.prefix), [])
  },
)
