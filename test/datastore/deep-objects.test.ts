// Objects that are nested thousands of levels: a Kubernetes API server stores them in what a schema leaves open. They are refused
// like any object that is not valid, in a list and in a watch, and whoever reads goes on.
import { createServer, type ServerResponse } from 'node:http'
import test from 'ava'
import type { ApiGroup } from '../../api/api-group.ts'
import { cachedFields } from '../../datastore/fields.ts'
import { openStore } from '../../datastore/kube.ts'
import { openObjects } from '../../datastore/objects.ts'
import { Refused } from '../../datastore/port.ts'
import { ManualClock } from '../../lib/clock.ts'

const LEVELS = 20_000
const DEEP = `${'{"labels":'.repeat(LEVELS)}1${'}'.repeat(LEVELS)}`
const RIGHT = '{"metadata":{"name":"right"},"spec":{"cidr":"10.1.0.0/16"}}'
const annotated = (text: string): string =>
  `{"metadata":{"name":"deep","annotations":{"projectcalico.org/metadata":${JSON.stringify(text)}}},"spec":{"cidr":"10.0.0.0/16"}}`
const inSpec = (inner: string): string =>
  `{"metadata":{"name":"deep","uid":"u","resourceVersion":"1"},"spec":{"cidr":"10.0.0.0/16","zzz":${inner}}}`

/** A server whose list and whose watch tell one object beside one that is right. */
async function serving(object: string) {
  const streams: ServerResponse[] = []
  const server = createServer((request, response) => {
    response.writeHead(200, { 'content-type': 'application/json' })
    if (request.url?.includes('watch=') === true) {
      response.write(`{"type":"MODIFIED","object":${object}}\n{"type":"MODIFIED","object":${RIGHT}}\n`)
      streams.push(response)
    } else if (/\/deep/.test(request.url ?? '')) response.end(object)
    else response.end(`{"metadata":{"resourceVersion":"5"},"items":[${object},${RIGHT}]}`)
  }).listen(0, '127.0.0.1')
  await new Promise(resolve => server.once('listening', resolve))
  const url = `http://127.0.0.1:${(server.address() as { port: number }).port}`
  const close = async (): Promise<void> => {
    for (const stream of streams) stream.destroy()
    await new Promise(resolve => server.close(resolve))
  }
  return { url, close }
}

const cases: [title: string, apiGroup: ApiGroup, object: string, at: string][] = [
  ['a field that no schema knows', 'v3', inSpec(DEEP), 'spec.zzz.labels'],
  ['a list of lists', 'v3', inSpec('['.repeat(9000) + ']'.repeat(9000)), 'spec.zzz.0'],
  ['a long integer at the bottom', 'v3', inSpec(DEEP.replace('1', '1766000000123456789')), 'spec.zzz.labels'],
  ["the spec in Calico's own form", 'v1', inSpec(DEEP), 'spec.zzz.labels'],
  ['the annotation in which Calico keeps labels', 'v1', annotated(DEEP), 'metadata.annotations'],
]

for (const [title, apiGroup, object, at] of cases)
  test(`an object is refused, and the others are told, where too deep is ${title}`, async t => {
    const { url, close } = await serving(object)
    const store = openStore({ server: url, token: 'x', apiGroup, clock: new ManualClock() })
    const told: string[] = []
    const { promise, resolve } = Promise.withResolvers<void>()
    store.watch(
      'IPPool',
      {
        event: event => {
          const items = event.type === 'sync' ? event.items : [event.item]
          told.push(`${event.type} ${items.map(({ metadata }) => metadata.name).join()}`)
          if (event.type === 'set') resolve()
        },
        refused: ({ type, ...event }) => {
          const objects = 'objects' in event ? event.objects : [event.object]
          told.push(`${type} refused ${objects.map(({ name, problems }) => `${name} ${problems[0]?.path}`).join()}`)
        },
      },
      { fields: cachedFields('IPPool') },
    )
    await promise
    t.deepEqual(told, [`sync refused deep ${at}`, 'sync right', `set refused deep ${at}`, 'set right'])
    await t.throwsAsync(store.get('IPPool', 'deep'), { instanceOf: Refused, message: /200 levels/ })
    if (apiGroup === 'v1')
      await t.throwsAsync(store.patch('IPPool', 'deep', { metadata: { labels: { a: 'b' } } }), { instanceOf: Refused })
    await store.close()
    await close()
  })

test('an object that is nested too deep can be shown, without what stands there', async t => {
  const { url, close } = await serving(inSpec(DEEP))
  const objects = openObjects({ server: url, token: 'x', apiGroup: 'v3', manager: 'test' })
  const [deep, right] = await objects.list('IPPool')
  t.true(JSON.stringify(deep).includes('left out'))
  t.like(right, { spec: { cidr: '10.1.0.0/16' } })
  objects.close()
  await close()
})
