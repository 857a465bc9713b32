// The map's server by itself: who may read what, and what every answer carries.
import { request } from 'node:http'
import { gunzipSync } from 'node:zlib'
import test, { type ExecutionContext } from 'ava'
import type { Asset } from '../../ui/assets.ts'
import { type MapSource, serveMap } from '../../ui/server.ts'

const ASSETS: readonly Asset[] = [
  { path: '/index.html', type: 'text/html; charset=utf-8', contents: Buffer.from('<p>page</p>'), isImmutable: false },
  {
    path: '/app-ABCDEFGH.js',
    type: 'text/javascript; charset=utf-8',
    contents: Buffer.from('run()'),
    isImmutable: true,
  },
]

const SOURCE: MapSource = {
  seen: () => Array.from({ length: 100 }, (_, i) => ({ node: `n${i}`, silent: 'nobody listens' })),
  explain: async from => (from === '' ? { error: 'name two ends' } : { explanations: [] }),
  policy: async () => ({ peers: [], more: 0 }),
  flows: async () => [],
  events: async () => [],
}

type Answer = { status: number; headers: Record<string, string | string[] | undefined>; body: Buffer }

async function withServer(
  t: ExecutionContext,
  run: (ask: Asks, token: string) => Promise<void>,
  source: Partial<MapSource> = {},
): Promise<void> {
  const server = await serveMap({ ...SOURCE, ...source }, ASSETS, 0, () => 1_700_000_000_000)
  t.teardown(() => server.close())
  const url = new URL(server.url)
  t.is(url.hostname, '127.0.0.1')
  const ask: Asks = (path, { method = 'GET', headers = {}, body } = {}) =>
    new Promise((resolve, reject) => {
      const asked = request(
        { host: '127.0.0.1', port: url.port, path, method, headers: { host: url.host, ...headers } },
        answer => {
          const pieces: Buffer[] = []
          answer.on('data', (piece: Buffer) => pieces.push(piece))
          answer.on('end', () =>
            resolve({ status: answer.statusCode ?? 0, headers: answer.headers, body: Buffer.concat(pieces) }),
          )
        },
      )
      asked.on('error', reject).end(body)
    })
  await run(ask, url.hash.slice(1))
}

type Asks = (
  path: string,
  how?: { method?: string; headers?: Record<string, string>; body?: string },
) => Promise<Answer>

async function opened(ask: Asks, token: string): Promise<string> {
  const { headers } = await ask('/session', { method: 'POST', body: token })
  return String(headers['set-cookie']).split(';')[0]!
}

test('data needs a session; the token opens one, once, and its cookie is for no script and no other site', t =>
  withServer(t, async (ask, token) => {
    t.is((await ask('/v1/graph')).status, 401)
    t.is((await ask('/session', { method: 'POST', body: `${token}x` })).status, 401)
    const first = await ask('/session', { method: 'POST', body: token })
    t.is(first.status, 204)
    const cookie = String(first.headers['set-cookie'])
    t.regex(cookie, /^margay-map=[\w-]{43}; Path=\/; HttpOnly; SameSite=Strict$/)
    t.is((await ask('/v1/graph', { headers: { cookie: cookie.split(';')[0]! } })).status, 200)
    t.is((await ask('/v1/graph', { headers: { cookie: 'margay-map=guess' } })).status, 401)
    t.is((await ask('/session', { method: 'POST', body: token })).status, 401, 'spent')
    t.is((await ask('/session', { method: 'POST', body: 'x'.repeat(100_000) })).status, 413)
  }))

test('a Host that is not its own, and another page that asks, get nothing', t =>
  withServer(t, async (ask, token) => {
    const cookie = await opened(ask, token)
    t.is((await ask('/v1/graph', { headers: { cookie, host: 'evil.example' } })).status, 421)
    t.is((await ask('/', { headers: { host: 'evil.example:80' } })).status, 421)
    t.is((await ask('/v1/graph', { headers: { cookie, origin: 'http://evil.example' } })).status, 403)
    t.is((await ask('/v1/graph', { headers: { cookie, origin: 'null' } })).status, 403)
  }))

test('every answer has the policy that lets nothing run but its own files', t =>
  withServer(t, async (ask, token) => {
    for (const path of ['/', '/app-ABCDEFGH.js', '/v1/graph', '/nothing', '/session']) {
      const { headers } = await ask(path)
      const policy = String(headers['content-security-policy'])
      t.true(policy.startsWith("default-src 'none'; script-src 'self'; style-src 'self';"), path)
      t.notRegex(policy, /unsafe|data:|\*/)
      t.is(headers['x-content-type-options'], 'nosniff')
      t.is(headers['referrer-policy'], 'no-referrer')
      t.is(headers['access-control-allow-origin'], undefined)
    }
    t.regex(String((await ask('/app-ABCDEFGH.js')).headers['cache-control']), /immutable/)
    await opened(ask, token)
  }))

test('files are those of the page alone, and data can be read alone', t =>
  withServer(t, async (ask, token) => {
    const cookie = await opened(ask, token)
    for (const path of ['/../package.json', '/..%2fpackage.json', '/app.js', '/v1', '/index.html/'])
      t.is((await ask(path)).status, 404, path)
    t.is((await ask('//')).status, 400)
    t.is((await ask('/v1/nothing', { headers: { cookie } })).status, 404)
    for (const method of ['POST', 'PUT', 'DELETE'])
      t.is((await ask('/v1/graph', { method, headers: { cookie } })).status, 405, method)
    t.is((await ask('/', { method: 'HEAD' })).body.length, 0)
  }))

test('an answer is compressed where that is asked for, and sent again only when it changed', t =>
  withServer(t, async (ask, token) => {
    const cookie = await opened(ask, token)
    const plain = await ask('/v1/graph', { headers: { cookie } })
    const zipped = await ask('/v1/graph', { headers: { cookie, 'accept-encoding': 'gzip' } })
    t.is(zipped.headers['content-encoding'], 'gzip')
    t.deepEqual(gunzipSync(zipped.body), plain.body)
    t.true(zipped.body.length < plain.body.length / 4)
    const again = await ask('/v1/graph', { headers: { cookie, 'if-none-match': String(plain.headers['etag']) } })
    t.deepEqual([again.status, again.body.length], [304, 0])
  }))

test('what cannot be asked is told, with the words of whoever was asked, and a failure ends no server', t =>
  withServer(
    t,
    async (ask, token) => {
      const cookie = await opened(ask, token)
      const told = async (path: string) => {
        const { status, body } = await ask(path, { headers: { cookie } })
        return [status, (JSON.parse(body.toString()) as { error?: string }).error]
      }
      t.deepEqual(await told('/v1/explain?to=b'), [400, 'name two ends'])
      t.deepEqual(await told('/v1/explain?from=a&to=b'), [200, undefined])
      t.deepEqual(await told('/v1/node?name=n500'), [404, 'there is no node n500'])
      t.deepEqual(await told(`/v1/node?name=${'x'.repeat(400)}`), [400, 'a word is longer than 300 characters'])
      t.deepEqual(await told('/v1/flows'), [500, 'the disk is away'])
      t.is((await told('/v1/graph'))[0], 200)
    },
    { flows: () => Promise.reject(new Error('the disk is away')) },
  ))
