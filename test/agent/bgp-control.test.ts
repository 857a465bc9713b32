// What margay-bgp's control socket says, read with the schemas that margayctl reads it with.
import { mkdtempSync, rmSync } from 'node:fs'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import test from 'ava'
import { controlRoutes } from '../../agent/bgp-control.ts'
import { serveSocket } from '../../agent/socket/server.ts'
import { ANSWERS } from '../../api/answers.ts'
import { ConfigError } from '../../bgp/file/faults.ts'
import { MemoryNetwork } from '../../bgp/simulation/memory-transport.ts'
import { Speaker } from '../../bgp/speaker.ts'
import { silentLog } from '../../lib/log.ts'

const REQUESTS: Record<string, { query?: string; body?: object }> = {
  'GET /route': { query: '?prefix=203.0.113.0/24' },
  'POST /clear': { body: { peer: 'b', kind: 'soft-in' } },
  'POST /reload': { body: { dryRun: true } },
}

test('every answer is one that margayctl understands, and a refusal says what is wrong', async t => {
  const dir = mkdtempSync(join(tmpdir(), 'margay-control-'))
  t.teardown(() => rmSync(dir, { recursive: true, force: true }))
  const transport = new MemoryNetwork().host('192.0.2.1')
  const speaker = new Speaker({ asn: 65001, routerId: '192.0.2.1' }, { transport })
  t.teardown(() => speaker.close())
  speaker.announce({ prefix: '203.0.113.0/24' })
  speaker.setPeer({ name: 'b', address: '192.0.2.2', asn: 65002, passive: true })
  const plan = {
    resets: [],
    added: ['c'],
    removed: [],
    changed: [],
    multipath: false,
    networks: { announced: [], withdrawn: [] },
  }
  const socketPath = join(dir, 'bgp.sock')
  const reload = async ({ dryRun }: { dryRun: boolean }) => {
    if (!dryRun) throw new ConfigError(['asn is missing'])
    return plan
  }
  const socket = await serveSocket(socketPath, controlRoutes({ speaker, reload }), silentLog)
  t.teardown(() => socket.close())
  const ask = (question: string, { query = '', body }: { query?: string; body?: object } = {}) =>
    new Promise<{ code: number; value: unknown }>((resolve, reject) => {
      const [method, path] = question.split(' ')
      request({ socketPath, method, path: `${path}${query}` }, response =>
        text(response).then(answer => resolve({ code: response.statusCode!, value: JSON.parse(answer) }), reject),
      )
        .on('error', reject)
        .end(body && JSON.stringify(body))
    })

  for (const [question, schema] of Object.entries(ANSWERS['margay-bgp'])) {
    const { code, value } = await ask(question, REQUESTS[question])
    t.is(code, 200, question)
    t.true(schema.safeParse(value).success, `${question}: ${JSON.stringify(value)}`)
  }
  const refused = await ask('POST /reload', { body: {} })
  t.is(refused.code, 400)
  t.regex((refused.value as { error: string }).error, /asn is missing/)
  t.like(await ask('POST /clear', { body: { peer: 'nobody' } }), { code: 400 })
  t.like(await ask('GET /route'), { code: 400 })
})
