// The answer that the owner of a block lives, at a server that does not take it.
import test from 'ava'
import { Conflict, Refused } from '../../datastore/port.ts'
import { askCollect, askOwner } from '../../ipam/block.ts'
import { OwnerAnswers } from '../../ipam/owner-answers.ts'
import { ManualClock } from '../../lib/clock.ts'
import { KeyedMutex } from '../../lib/keyed-mutex.ts'
import { silentLog } from '../../lib/log.ts'
import { aBlock } from '../datastore/objects.ts'

/** A block whose owner is asked, at a server that refuses each answer while `refusal` is set. */
function asking(refusal: Error) {
  const clock = new ManualClock()
  const item = askOwner(aBlock('10.244.0.0/31'), 'margay-controllers')
  const it = { tries: 0, refusal: refusal as Error | undefined }
  const answers = new OwnerAnswers({
    ...{
      clock,
      log: silentLog,
      mutex: new KeyedMutex(),
      mine: () => true,
      answered: () => undefined,
      give: async () => false,
      lend: async () => false,
    },
    store: {
      get: async () => item,
      update: async (_kind: string, object: unknown) => {
        it.tries++
        if (it.refusal !== undefined) throw it.refusal
        return object
      },
    } as never,
  })
  const pass = async (ms: number) => {
    for (let leftMs = ms; leftMs >= 0; leftMs -= 100) {
      for (let turn = 0; turn < 5; turn++) await new Promise(setImmediate)
      clock.advance(100)
    }
  }
  return Object.assign(it, { item, answers, pass })
}

for (const refusal of [new Conflict('has been modified'), new Refused(403, 'no right')])
  test(`an answer that ends in ${refusal.name} for ever is tried further and further apart, and made when the server takes it`, async t => {
    const it = asking(refusal)
    it.answers.follow(it.item)
    await it.pass(60_000)
    t.true(it.tries > 5 && it.tries < 20, `${it.tries} tries in a minute`)
    it.refusal = undefined
    const { tries } = it
    await it.pass(20_000)
    t.is(it.tries, tries + 1)
    it.answers.close()
  })

test('an answer that waits is tried at once when the block changes again', async t => {
  const it = asking(new Conflict('has been modified'))
  it.answers.follow(it.item)
  await it.pass(60_000)
  const { tries } = it
  it.answers.follow(it.item)
  await it.pass(0)
  t.is(it.tries, tries + 1)
  it.answers.close()
})

test('who is asked to free what no pod has frees it before the answer, which takes both marks out', async t => {
  const clock = new ManualClock()
  const steps: string[] = []
  const item = askCollect(askOwner(aBlock('10.244.0.0/31'), 'margay-controllers'), 'margayctl')
  const answers = new OwnerAnswers({
    ...{
      clock,
      log: silentLog,
      mutex: new KeyedMutex(),
      mine: () => true,
      answered: () => undefined,
      give: async () => false,
      lend: async () => false,
    },
    collect: async () => {
      steps.push('freed')
    },
    store: {
      get: async () => item,
      update: async (_kind: string, { metadata }: typeof item) => {
        steps.push(`written ${JSON.stringify(metadata.annotations)}`)
        return item
      },
    } as never,
  })
  answers.follow(item)
  for (let turn = 0; turn < 5; turn++) await new Promise(setImmediate)
  t.deepEqual(steps, ['freed', 'written {}'])
  answers.close()
})
