import { connect } from 'node:net'
import anyTest, { type TestFn } from 'ava'
import { type ApiServer, type ApiServerOptions, OptionsError, startApiServer } from '../../apiserver/server.ts'

type Answer = { code: number; body: unknown; type: string }
type Call = { method?: string; body?: unknown; headers?: Record<string, string> }

const test = anyTest as TestFn<{ server: ApiServer }>
const POOLS = '/apis/projectcalico.org/v3/ippools'
const NODES = '/api/v1/nodes'
const PODS = '/api/v1/namespaces/default/pods'

test.beforeEach(async t => {
  t.context.server = await startApiServer({ history: { changes: 20, characters: 1e6 } })
})
test.afterEach.always(t => t.context.server.close())

async function call({ url, token }: ApiServer, path: string, { method, body, headers }: Call = {}): Promise<Answer> {
  const init = {
    method: method ?? 'GET',
    headers: { ...bearer(token), 'content-type': 'application/json', ...headers },
  }
  const text = typeof body === 'string' ? body : JSON.stringify(body)
  const response = await fetch(url + path, body === undefined ? init : { ...init, body: text })
  const answer = await response.text()
  const type = response.headers.get('content-type') ?? ''
  return { code: response.status, body: type.includes('json') ? JSON.parse(answer) : answer, type }
}

const bearer = (token: string): Record<string, string> => ({ authorization: `Bearer ${token}` })
const pool = (name: string, spec: object = {}): object => ({
  metadata: { name },
  spec: { cidr: rangeOf(name), ...spec },
})
/** A range for each name: pools do not overlap. */
const rangeOf = (name: string): string => {
  const sum = [...name].reduce((sum, letter) => (sum * 31 + letter.charCodeAt(0)) % 65_536, 0)
  return `10.${sum >> 8}.${sum & 255}.0/24`
}
const create = (server: ApiServer, name: string): Promise<Answer> =>
  call(server, POOLS, { method: 'POST', body: pool(name) })

/** What stands at a path of a JSON value; undefined when nothing does. */
function at(value: unknown, ...path: readonly (string | number)[]): unknown {
  return path.reduce<unknown>((v, key) => (v as Record<string | number, unknown> | undefined)?.[key], value)
}

function list(value: unknown, ...path: readonly (string | number)[]): unknown[] {
  return at(value, ...path) as unknown[]
}

/** Events of a watch until `count` came or it ended. */
async function watch({ url, token }: ApiServer, path: string, count: number, headers = {}): Promise<unknown[]> {
  const abort = new AbortController()
  const response = await fetch(url + path, { headers: { ...bearer(token), ...headers }, signal: abort.signal })
  const events: unknown[] = []
  let rest = ''
  for await (const chunk of response.body!.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + chunk).split('\n')
    rest = lines.pop()!
    events.push(...lines.map(line => JSON.parse(line)))
    if (events.length >= count) break
  }
  abort.abort()
  return events
}

test('every refusal is a Status with code and reason', async t => {
  const { server } = t.context
  await create(server, 'p')
  const stale = { ...pool('p'), metadata: { name: 'p', resourceVersion: '1' } }
  const refusals: [path: string, call: Call, code: number, reason: string][] = [
    [`${POOLS}/q`, {}, 404, 'NotFound'],
    ['/apis/projectcalico.org/v3/nothings', {}, 404, 'NotFound'],
    ['/apis/projectcalico.org/v3/%E0%A4%A', {}, 404, 'NotFound'],
    [POOLS, { method: 'PUT', body: {} }, 405, 'MethodNotAllowed'],
    [POOLS, { headers: { accept: 'application/yaml' } }, 406, 'NotAcceptable'],
    [POOLS, { method: 'POST', body: pool('p') }, 409, 'AlreadyExists'],
    [`${POOLS}/p`, { method: 'PUT', body: stale }, 409, 'Conflict'],
    [POOLS, { method: 'POST', body: '{' }, 400, 'BadRequest'],
    [POOLS, { method: 'POST', body: '[]' }, 400, 'BadRequest'],
    [POOLS, { method: 'POST', body: pool('r', { cidr: 'x' }) }, 422, 'Invalid'],
    [POOLS, { method: 'POST', body: '<a/>', headers: { 'content-type': 'text/xml' } }, 415, 'UnsupportedMediaType'],
    [`${POOLS}/p`, { method: 'PATCH', body: {} }, 415, 'UnsupportedMediaType'],
    [`${POOLS}/p`, { method: 'PUT', body: pool('other') }, 400, 'BadRequest'],
    [`${POOLS}?labelSelector=a%20b`, {}, 400, 'BadRequest'],
    [`${POOLS}?continue=x`, {}, 400, 'BadRequest'],
    [`${POOLS}?dryRun=Some`, { method: 'POST', body: pool('r') }, 400, 'BadRequest'],
    ['/api/v1/namespaces/nowhere/pods', { method: 'POST', body: { metadata: { name: 'p' } } }, 404, 'NotFound'],
    ['/api/v1/namespaces/default', { method: 'DELETE' }, 403, 'Forbidden'],
    [POOLS, { method: 'POST', body: `"${'x'.repeat(3 * 1024 * 1024)}"` }, 413, 'RequestEntityTooLarge'],
  ]
  for (const [path, request, code, reason] of refusals) {
    const answer = await call(server, path, request)
    t.like(answer, { code, body: { kind: 'Status', status: 'Failure', code, reason } }, `${path} ${reason}`)
  }
})

test('an invalid object is refused with a cause for each field', async t => {
  const { body } = await call(t.context.server, POOLS, {
    method: 'POST',
    body: pool('p', { ipipMode: 'x', natOutgoing: 'y' }),
  })
  t.deepEqual(
    list(body, 'details', 'causes').map(cause => at(cause, 'field')),
    ['spec.ipipMode', 'spec.natOutgoing'],
  )
})

test('an unknown field is refused, told in a warning or kept in silence as fieldValidation asks, by every way of writing', async t => {
  const { server } = t.context
  await create(server, 'p')
  const { body: stored } = await call(server, `${POOLS}/p`)
  const wrong = { blocksize: 28 }
  const merge = 'application/merge-patch+json'
  const apply = { apiVersion: 'projectcalico.org/v3', kind: 'IPPool', ...pool('p', wrong) }
  const ways: [way: string, path: string, method: string, type: string, body: unknown][] = [
    ['create', POOLS, 'POST', 'application/json', pool('q', wrong)],
    [
      'update',
      `${POOLS}/p`,
      'PUT',
      'application/json',
      { ...(stored as object), spec: { cidr: rangeOf('p'), ...wrong } },
    ],
    ['merge patch', `${POOLS}/p`, 'PATCH', merge, { spec: wrong }],
    [
      'JSON patch',
      `${POOLS}/p`,
      'PATCH',
      'application/json-patch+json',
      [{ op: 'add', path: '/spec/blocksize', value: 28 }],
    ],
    ['apply', `${POOLS}/p`, 'PATCH', 'application/apply-patch+yaml', apply],
  ]
  const words = /unknown field "spec\.blocksize": is spec\.blockSize meant\?/
  for (const [way, path, method, type, body] of ways)
    for (const [how, code] of [
      ['Strict', 400],
      ['Warn', way === 'create' ? 201 : 200],
      ['Ignore', way === 'create' ? 201 : 200],
    ] as const) {
      const query = `?dryRun=All&fieldManager=tester&force=true&fieldValidation=${how}`
      const headers = { ...bearer(server.token), 'content-type': type }
      const response = await fetch(server.url + path + query, { method, headers, body: JSON.stringify(body) })
      const text = await response.text()
      t.is(response.status, code, `${way} ${how}: ${text}`)
      if (how === 'Strict') t.regex(JSON.parse(text).message, words, way)
      const warning = (response.headers.get('warning') ?? '').replaceAll('\\"', '"')
      if (how === 'Warn') t.regex(warning, words, way)
      else t.notRegex(warning, words, way)
    }
})

test('a dry run answers as if, and stores nothing', async t => {
  const { server } = t.context
  const answer = await call(server, `${POOLS}?dryRun=All`, { method: 'POST', body: pool('p') })
  t.is(answer.code, 201)
  t.is((await call(server, `${POOLS}/p`)).code, 404)
  await create(server, 'p')
  await call(server, `${POOLS}/p`, { method: 'DELETE', body: { dryRun: ['All'] } })
  t.is((await call(server, `${POOLS}/p`)).code, 200)
})

test('generateName makes a name of its own for each', async t => {
  const body = { metadata: { generateName: 'web-' }, spec: {} }
  const names = await Promise.all(
    [1, 2].map(async () => at((await call(t.context.server, PODS, { method: 'POST', body })).body, 'metadata', 'name')),
  )
  for (const name of names) t.regex(String(name), /^web-[a-z0-9]{5}$/)
  t.not(names[0], names[1])
})

test('a list comes in pages that together hold everything once', async t => {
  const { server } = t.context
  for (const name of ['e', 'b', 'a', 'd', 'c']) await create(server, name)
  const names: unknown[] = []
  for (let token = ''; ; ) {
    const { body } = await call(server, `${POOLS}?limit=2&continue=${token}`)
    names.push(...list(body, 'items').map(item => at(item, 'metadata', 'name')))
    token = String(at(body, 'metadata', 'continue') ?? '')
    if (token === '') break
  }
  t.deepEqual(names, ['a', 'b', 'c', 'd', 'e'])
})

test('a watch from a version tells what came after it, and from a forgotten one that it expired', async t => {
  const { server } = t.context
  await create(server, 'a')
  const version = at((await call(server, POOLS)).body, 'metadata', 'resourceVersion')
  await create(server, 'b')
  await call(server, `${POOLS}/a`, { method: 'DELETE' })
  const events = await watch(server, `${POOLS}?watch=true&resourceVersion=${version}`, 2)
  t.deepEqual(
    events.map(e => `${at(e, 'type')} ${at(e, 'object', 'metadata', 'name')}`),
    ['ADDED b', 'DELETED a'],
  )
  for (let i = 0; i < 30; i++) await create(server, `x${i}`)
  for (const gone of [version, '999999']) {
    const [event] = await watch(server, `${POOLS}?watch=true&resourceVersion=${gone}`, 1)
    t.like(event, { type: 'ERROR', object: { code: 410, reason: 'Expired' } })
  }
})

test('a list that goes on from a forgotten version expires', async t => {
  const { server } = t.context
  for (const name of ['a', 'b', 'c']) await create(server, name)
  const { body } = await call(server, `${POOLS}?limit=1`)
  for (let i = 0; i < 30; i++) await create(server, `x${i}`)
  const next = await call(server, `${POOLS}?limit=1&continue=${at(body, 'metadata', 'continue')}`)
  t.like(next, { code: 410, body: { reason: 'Expired' } })
})

test('a streaming list ends with a bookmark that says so', async t => {
  const { server } = t.context
  await create(server, 'a')
  const path = `${POOLS}?watch=true&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan`
  const events = await watch(server, path, 2)
  t.deepEqual(
    events.map(e => at(e, 'type')),
    ['ADDED', 'BOOKMARK'],
  )
  t.is(at(events[1]!, 'object', 'metadata', 'annotations', 'k8s.io/initial-events-end'), 'true')
})

test('a watch ends by itself when its time is up', async t => {
  t.deepEqual(await watch(t.context.server, `${POOLS}?watch=true&timeoutSeconds=1`, 1), [])
})

test('tables come with columns of the kind, and in a watch the columns come once', async t => {
  const { server } = t.context
  await create(server, 'a')
  await create(server, 'b')
  const accept = 'application/json;as=Table;v=v1;g=meta.k8s.io,application/json'
  const { body } = await call(server, POOLS, { headers: { accept } })
  t.is(at(body, 'kind'), 'Table')
  t.deepEqual(
    list(body, 'rows').map(row => list(row, 'cells').slice(0, 2)),
    [
      ['a', rangeOf('a')],
      ['b', rangeOf('b')],
    ],
  )
  t.is(list(body, 'columnDefinitions').length, list(body, 'rows', 0, 'cells').length)
  const events = await watch(server, `${POOLS}?watch=true`, 2, { accept })
  t.deepEqual(
    events.map(e => list(e, 'object', 'columnDefinitions').length > 0),
    [true, false],
  )
})

test('who asks for the metadata alone gets it: of an object, of a list and in a watch', async t => {
  const { server } = t.context
  const image = { names: ['registry.example.org/an-image'], sizeBytes: 1 }
  const node = (name: string) => ({ metadata: { name, labels: { rack: '1' } }, status: { images: [image] } })
  for (const name of ['a', 'b']) await call(server, NODES, { method: 'POST', body: node(name) })
  const type = { kind: 'PartialObjectMetadata', apiVersion: 'meta.k8s.io/v1' }
  const isPart = (object: unknown, name: string, label = '1') => {
    t.like(object, { ...type, metadata: { name, labels: { rack: label } } })
    t.deepEqual(Object.keys(object as object), ['kind', 'apiVersion', 'metadata'])
  }
  const accept = 'application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io,application/json'
  isPart((await call(server, `${NODES}/a`, { headers: { accept } })).body, 'a')
  const { body } = await call(server, NODES, { headers: { accept: accept.replace('Metadata;', 'MetadataList;') } })
  t.like(body, { kind: 'PartialObjectMetadataList', apiVersion: 'meta.k8s.io/v1' })
  t.deepEqual(
    list(body, 'items').map(item => at(item, 'metadata', 'name')),
    ['a', 'b'],
  )
  isPart(at(body, 'items', 1), 'b')
  const since = String(at(body, 'metadata', 'resourceVersion'))
  const watching = watch(server, `${NODES}?watch=true&resourceVersion=${since}`, 3, { accept })
  const headers = { 'content-type': 'application/merge-patch+json' }
  await call(server, `${NODES}/a`, { method: 'PATCH', body: { metadata: { labels: { rack: '2' } } }, headers })
  await call(server, NODES, { method: 'POST', body: node('c') })
  await call(server, `${NODES}/b`, { method: 'DELETE' })
  const events = await watching
  t.deepEqual(
    events.map(event => at(event, 'type')),
    ['MODIFIED', 'ADDED', 'DELETED'],
  )
  for (const [index, [name, label]] of [['a', '2'], ['c'], ['b']].entries())
    isPart(at(events[index], 'object'), name!, label)
  t.is((await call(server, NODES, { headers: { accept: accept.split(',')[0]!.replace('v=v1', 'v=v9') } })).code, 406)
})

test('a namespace takes what it holds along, and waits for finalizers', async t => {
  const { server } = t.context
  await call(server, '/api/v1/namespaces', { method: 'POST', body: { metadata: { name: 'shop' } } })
  const pods = '/api/v1/namespaces/shop/pods'
  await call(server, pods, { method: 'POST', body: { metadata: { name: 'a' } } })
  await call(server, pods, { method: 'POST', body: { metadata: { name: 'b', finalizers: ['example.org/hold'] } } })
  t.like(await call(server, '/api/v1/namespaces/shop', { method: 'DELETE' }), {
    body: { status: { phase: 'Terminating' } },
  })
  t.is(list((await call(server, pods)).body, 'items').length, 1)
  t.is((await call(server, pods, { method: 'POST', body: { metadata: { name: 'c' } } })).code, 403)
  const headers = { 'content-type': 'application/merge-patch+json' }
  await call(server, `${pods}/b`, { method: 'PATCH', body: { metadata: { finalizers: null } }, headers })
  t.is((await call(server, '/api/v1/namespaces/shop')).code, 404)
})

test('deletecollection takes what the selector chooses', async t => {
  const { server } = t.context
  for (const name of ['a', 'b'])
    await call(server, POOLS, { method: 'POST', body: { ...pool(name), metadata: { name, labels: { name } } } })
  await call(server, `${POOLS}?labelSelector=name%3Da`, { method: 'DELETE' })
  t.deepEqual(
    list((await call(server, POOLS)).body, 'items').map(item => at(item, 'metadata', 'name')),
    ['b'],
  )
})

test('a policy of Kubernetes goes by its own name wherever a client asks, though the table has it under another', async t => {
  const { server } = t.context
  const root = '/apis/networking.k8s.io/v1'
  const path = `${root}/namespaces/default/networkpolicies`
  const body = { apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy', metadata: { name: 'p' }, spec: {} }
  const made = await call(server, path, { method: 'POST', body })
  t.like(made, { code: 201, body: { apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy' } })
  t.like(await call(server, path), { body: { kind: 'NetworkPolicyList' } })
  t.is(at((await call(server, root)).body, 'resources', 0, 'kind'), 'NetworkPolicy')
  t.is((await call(server, path, { method: 'POST', body: { ...body, kind: 'KubernetesNetworkPolicy' } })).code, 422)
  const document = await call(server, '/openapi/v3/apis/networking.k8s.io/v1')
  t.deepEqual(Object.keys(at(document.body, 'components', 'schemas') as object), ['io.k8s.networking.v1.NetworkPolicy'])
})

test('discovery comes plain and aggregated', async t => {
  const { server } = t.context
  t.deepEqual(at((await call(server, '/api')).body, 'versions'), ['v1'])
  t.is(at((await call(server, '/apis')).body, 'kind'), 'APIGroupList')
  const accept = 'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json'
  const { body, type } = await call(server, '/apis', { headers: { accept } })
  t.is(at(body, 'kind'), 'APIGroupDiscoveryList')
  t.regex(type, /as=APIGroupDiscoveryList/)
  const { body: v3 } = await call(server, '/apis/projectcalico.org/v3')
  t.true(list(v3, 'resources').some(resource => at(resource, 'name') === 'ippools/status'))
})

test('health and version answer', async t => {
  for (const path of ['/healthz', '/livez', '/readyz'])
    t.like(await call(t.context.server, path), { code: 200, body: 'ok' })
  t.is(at((await call(t.context.server, '/version')).body, 'major'), '1')
})

test('a reader who is too slow is cut off, and the server goes on', async t => {
  const server = await startApiServer({ watchLimits: { bookmarkMs: 10_000, bufferBytes: 64 * 1024 } })
  t.teardown(() => server.close())
  const { hostname, port } = new URL(server.url)
  const socket = connect(Number(port), hostname)
  const closed = new Promise<void>(resolve => socket.once('close', () => resolve()))
  socket.on('error', () => {})
  socket.write(`GET ${NODES}?watch=true HTTP/1.1\r\nhost: ${hostname}\r\nauthorization: Bearer ${server.token}\r\n\r\n`)
  await new Promise(resolve => socket.once('readable', resolve))
  const big = { metadata: { name: 'p', annotations: { big: 'x'.repeat(1_000_000) } }, spec: {} }
  await call(server, NODES, { method: 'POST', body: big })
  const headers = { 'content-type': 'application/merge-patch+json' }
  // what the kernel's buffers take is not ours to bound, so write until the cut
  for (let i = 0; i < 40; i++)
    await call(server, `${NODES}/p`, { method: 'PATCH', body: { spec: { unschedulable: i % 2 === 0 } }, headers })
  socket.resume()
  await closed
  t.is((await call(server, `${NODES}/p`)).code, 200)
})

const unsafe: ApiServerOptions[] = [
  { listen: '0.0.0.0:0' },
  { listen: '0.0.0.0:0', token: 'a' },
  { listen: '127.0.0.1' },
  { listen: '127.0.0.1:70000' },
  { token: '' },
]

for (const options of unsafe)
  test(`${JSON.stringify({ ...options, tls: options.tls && 'yes' })} does not start`, async t => {
    await t.throwsAsync(startApiServer(options), { instanceOf: OptionsError })
  })

test('a large object arrives whole, alone, in a list and in a watch, whatever its characters', async t => {
  const { server } = t.context
  // characters of two units, at even and at odd places, so that some lie across any cut
  const big = `${'😀'.repeat(60_000)}a${'😀'.repeat(60_000)}${'é'.repeat(70_000)}`
  const made = await call(server, NODES, { method: 'POST', body: { metadata: { name: 'n', annotations: { big } } } })
  t.is(at(made.body, 'metadata', 'annotations', 'big'), big)
  const { body } = await call(server, `${NODES}/n`)
  t.is(at(body, 'metadata', 'annotations', 'big'), big)
  const all = await call(server, NODES)
  t.is(at(all.body, 'items', 0, 'metadata', 'annotations', 'big'), big)
  const [event] = await watch(server, `${NODES}?watch=true`, 1)
  t.is(at(event, 'object', 'metadata', 'annotations', 'big'), big)
})
