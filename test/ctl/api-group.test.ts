// Which API group margayctl writes to where a server has both of Calico's.
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import test from 'ava'
import { runHere } from './run.ts'

const CONFIG = '/api/v1/namespaces/kube-system/configmaps/margay-config'
const BOTH = ['crd.projectcalico.org', 'projectcalico.org']

type Config = { data?: Record<string, string> } | undefined

/** What `datastore lock` asks of a server with these groups and this ConfigMap, and how it ends. */
async function locked(groups: readonly string[], config: Config, ...flags: string[]) {
  const written: string[] = []
  const server = createServer((request, response) => {
    const path = request.url!.split('?')[0]!
    if (path === '/apis') return void response.end(JSON.stringify({ groups: groups.map(name => ({ name })) }))
    if (path === CONFIG && config === undefined)
      return void response.writeHead(404).end('{"kind":"Status","message":"configmaps margay-config not found"}')
    if (path === CONFIG) return void response.end(JSON.stringify(config))
    if (request.method !== 'GET') written.push(path.split('/')[2]!)
    response.end('{"metadata":{"name":"default","resourceVersion":"1"},"spec":{}}')
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const ended = await runHere(['datastore', 'lock', '--server', url, ...flags])
  server.close()
  return { ...ended, written }
}

test('of both groups the lock is set in the one that the agents are told by their ConfigMap', async t => {
  t.deepEqual((await locked(BOTH, { data: { apiGroup: 'v3' } })).written, ['projectcalico.org'])
  t.deepEqual((await locked(BOTH, { data: { apiGroup: 'v1' } })).written, ['crd.projectcalico.org'])
})

test('of both groups none is guessed: without the ConfigMap --api-group has to be given', async t => {
  for (const config of [undefined, {}, { data: { apiGroup: 'auto' } }]) {
    const { code, err, out, written } = await locked(BOTH, config)
    t.deepEqual([code, out, written], [2, '', []])
    t.regex(err, /has both .*ConfigMap margay-config in kube-system .*Give .*--api-group v3 or --api-group v1/)
  }
  t.deepEqual((await locked(BOTH, undefined, '--api-group', 'v3')).written, ['projectcalico.org'])
})

test('a server with one group is asked for no ConfigMap', async t => {
  t.deepEqual((await locked(['projectcalico.org'], undefined)).written, ['projectcalico.org'])
  t.deepEqual((await locked(['crd.projectcalico.org'], undefined)).written, ['crd.projectcalico.org'])
})
