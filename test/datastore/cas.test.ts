import test from 'ava'
import { update } from '../../datastore/cas.ts'
import { createFakeStore } from '../../datastore/fake.ts'
import { Conflict } from '../../datastore/port.ts'
import { aPool } from './objects.ts'

test('a writer that always loses gives up after its attempts with Conflict', async t => {
  const fake = createFakeStore()
  await fake.create('IPPool', aPool('a'))
  let tries = 0
  const store = {
    ...fake,
    update: async () => {
      tries++
      throw new Conflict('lost')
    },
  }
  const change = update(store, 'IPPool', 'a', pool => ({ ...pool }), { attempts: 3 })
  await t.throwsAsync(change, { instanceOf: Conflict })
  t.is(tries, 3)
})

test('a change that returns undefined writes nothing', async t => {
  const fake = createFakeStore()
  const made = await fake.create('IPPool', aPool('a'))
  t.deepEqual(await update(fake, 'IPPool', 'a', () => undefined), made)
})
