// Objects of the server that are not valid, and what the cache makes of them.
import test from 'ava'
import { aPool } from './objects.ts'
import { aWorld } from './world.ts'

test('an object that becomes invalid stays what it was, is told with its fields, and follows when it is valid again', async t => {
  const { fake, clock, asked, open } = aWorld()
  await fake.create('IPPool', aPool('a'))
  const caches = open()
  const pools = caches.of('IPPool')
  const changes: string[] = []
  pools.onChange(({ key, after }) => changes.push(`${key} ${after?.spec.cidr ?? 'gone'}`))
  caches.start()
  await fake.settled()
  clock.advance(60_000)
  const { metadata } = await fake.get('IPPool', 'a')
  fake.inject('IPPool', { metadata, spec: { cidr: '10.244.0.0/99' } })
  fake.inject('IPPool', { metadata: { name: 'never' }, spec: {} })
  await fake.settled()
  t.deepEqual(
    pools.refused.map(({ name, problems }) => `${name} ${problems[0]?.path}`),
    ['a spec.cidr', 'never spec.cidr'],
  )
  clock.advance(60_000)
  fake.compact()
  fake.disconnect()
  fake.reconnect()
  await fake.settled()
  t.is(pools.refused.length, 2, 'a list has them too')
  caches.close()
  const again = open()
  again.of('IPPool')
  again.start()
  await fake.settled()
  t.deepEqual(
    again
      .of('IPPool')
      .all()
      .map(({ spec }) => spec.cidr),
    ['10.244.0.0/16'],
  )
  t.is(again.of('IPPool').refused.length, 2, 'a restart hears of them again')
  again.close()
  t.deepEqual(changes, ['a 10.244.0.0/16'])
  t.is(asked.length, 2)
  const last = open()
  last.of('IPPool')
  last.start()
  await fake.settled()
  fake.inject('IPPool', { metadata, spec: { cidr: '10.244.0.0/16' } })
  await fake.delete('IPPool', 'never')
  await fake.settled()
  t.deepEqual(last.of('IPPool').refused, [])
  await fake.settled()
  fake.inject('IPPool', { metadata, spec: {} })
  await fake.delete('IPPool', 'a')
  await fake.settled()
  t.deepEqual(last.of('IPPool').all(), [])
  t.deepEqual(last.of('IPPool').refused, [])
  last.close()
})
