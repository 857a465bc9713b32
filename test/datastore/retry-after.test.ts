// A server that asks for a pause (Retry-After) is not asked again before its end for what it refused, and is for everything else.
import { createServer } from 'node:http'
import test, { type ExecutionContext } from 'ava'
import { ApiConnection } from '../../datastore/connection.ts'
import { Unreachable } from '../../datastore/port.ts'
import { ManualClock } from '../../lib/clock.ts'

/** A server that refuses to list pods with `code` and the header, and a connection to it. */
async function refusing(t: ExecutionContext, code: number, header: string | undefined, clock = new ManualClock()) {
  const asked: string[] = []
  const server = createServer(({ method, url = '' }, answer) => {
    asked.push(`${method} ${url}`)
    const isRefused = url === '/api/v1/pods' && method === 'GET'
    answer.writeHead(isRefused ? code : 200, header === undefined ? {} : { 'retry-after': header }).end('{}')
  }).listen(0, '127.0.0.1')
  await new Promise(resolve => server.once('listening', resolve))
  const { port } = server.address() as { port: number }
  const connection = new ApiConnection({ server: `http://127.0.0.1:${port}`, clock })
  t.teardown(() => {
    connection.close()
    server.close()
  })
  const list = () => connection.call({ method: 'GET', path: '/api/v1/pods' })
  return { asked, clock, connection, list }
}

const at = new Date(1_700_000_030_000).toUTCString()

for (const [code, header, pauseMs] of [
  [429, '30', 30_000],
  [503, '1', 1000],
  [500, '7', 7000],
  [503, at, 30_000],
  [429, '86400', 600_000],
] as const)
  test(`after ${code} with Retry-After ${header} the server is not asked for ${pauseMs} ms, and the answer is what it said`, async t => {
    const { asked, clock, list } = await refusing(t, code, header)
    const first = await t.throwsAsync(list(), { instanceOf: Unreachable })
    clock.advance(pauseMs - 1)
    t.is(await t.throwsAsync(list()), first)
    t.is(asked.length, 1)
    clock.advance(1)
    await t.throwsAsync(list(), { instanceOf: Unreachable })
    t.is(asked.length, 2)
  })

for (const header of [undefined, '0', '-5', 'soon', new Date(0).toUTCString()])
  test(`Retry-After ${header} asks for no pause`, async t => {
    const { asked, list } = await refusing(t, 429, header)
    for (let i = 0; i < 2; i++) await t.throwsAsync(list())
    t.is(asked.length, 2)
  })

test('while one kind waits, single objects, writes and watches of it and everything about other kinds are asked for', async t => {
  const { asked, connection, list } = await refusing(t, 429, '30')
  await t.throwsAsync(list())
  await connection.call({ method: 'GET', path: '/api/v1/pods/a' })
  await connection.call({ method: 'POST', path: '/api/v1/pods', body: {} })
  await connection.call({ method: 'GET', path: '/api/v1/nodes' })
  t.deepEqual(asked.slice(1), ['GET /api/v1/pods/a', 'POST /api/v1/pods', 'GET /api/v1/nodes'])
})

test('an answer that is no refusal for now asks for no pause, whatever its header says', async t => {
  const { asked, list } = await refusing(t, 404, '30')
  for (let i = 0; i < 2; i++) await t.throwsAsync(list())
  t.is(asked.length, 2)
})
