// What an agent that reads more fields of a kind makes of the snapshot of an older one.
import test from 'ava'
import { aResource } from './objects.ts'
import { aWorld } from './world.ts'

test('of what a version kept fewer fields from, the rest is asked for at once, and what was kept counts until then', async t => {
  const { fake, database, asked, clock, open } = aWorld()
  const name = 'cni.projectcalico.org/ipv4pools'
  await fake.create(
    'Namespace',
    aResource('Namespace', { metadata: { name: 'default', annotations: { [name]: '["a"]' } } }),
  )
  const run = async (settle = true): Promise<string | undefined> => {
    asked.length = 0
    const caches = open()
    const namespaces = caches.of('Namespace')
    caches.start()
    if (settle) await fake.settled()
    const { metadata } = namespaces.get('default')!
    if (settle) clock.advance(20_000)
    caches.close()
    return metadata.annotations?.[name]
  }
  t.is(await run(), '["a"]')
  t.is(await run(), '["a"]')
  t.not(asked.join(), 'Namespace from the start')
  const older = (leaves: string) => {
    const row = database.prepare("SELECT json FROM cached_objects WHERE kind = 'Namespace'").get()
    const object = JSON.parse(String(row!['json']))
    delete object.metadata.annotations
    database.prepare("UPDATE cached_objects SET json = ? WHERE kind = 'Namespace'").run(JSON.stringify(object))
    database.exec(leaves)
  }
  for (const leaves of [
    'DROP TABLE IF EXISTS cached_kind_fields',
    `UPDATE cached_kind_fields SET fields = '{"metadata":{"name":true}}' WHERE kind = 'Namespace'`,
  ]) {
    older(leaves)
    t.is(await run(false), undefined, 'as it was left')
    t.is(await run(), '["a"]')
    t.is(asked.join(), 'Namespace from the start')
    t.is(await run(), '["a"]')
    t.not(asked.join(), 'Namespace from the start', 'once is enough')
  }
  // the row was written, and the agent ended before the version was
  database.exec("UPDATE cached_kind_fields SET fields = '' WHERE kind = 'Namespace'")
  t.is(await run(), '["a"]')
  t.is(asked.join(), 'Namespace from the start')
})
