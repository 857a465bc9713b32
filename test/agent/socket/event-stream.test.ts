// The recorder's records to one who asks, over a real socket.
import { mkdtempSync, rmSync } from 'node:fs'
import { get, type IncomingMessage } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import test, { type ExecutionContext } from 'ava'
import { Recorder } from '../../../agent/recorder/recorder.ts'
import { askedOf, streamRecords } from '../../../agent/socket/event-stream.ts'
import { serveSocket } from '../../../agent/socket/server.ts'
import { type RecordLine, recordLine } from '../../../api/record-line.ts'
import { ManualClock } from '../../../lib/clock.ts'
import { silentLog } from '../../../lib/log.ts'

async function aServer(t: ExecutionContext) {
  const dir = mkdtempSync(join(tmpdir(), 'margay-stream-'))
  const clock = new ManualClock(0)
  const recorder = new Recorder({ nodeName: 'n1', folder: join(dir, 'recorder'), clock, log: silentLog })
  const socketPath = join(dir, 'agent.sock')
  const routes = {
    'GET /events': async (_: unknown, response: Parameters<typeof streamRecords>[1], query: URLSearchParams) => {
      const asked = askedOf(query)
      t.not(typeof asked, 'string')
      if (typeof asked !== 'string') await streamRecords(recorder, response, { asked, follow: query.has('follow') })
    },
  }
  const server = await serveSocket(socketPath, routes, silentLog)
  t.teardown(async () => {
    await server.close()
    recorder.close()
    rmSync(dir, { recursive: true, force: true })
  })
  const ask = (query: string) =>
    new Promise<IncomingMessage>((resolve, reject) =>
      get({ socketPath, path: `/events?${query}` }, resolve).on('error', reject),
    )
  const note = (name: string) => recorder.note('Came', 'Route', 'learned', () => ({ name }))
  return { recorder, clock, ask, note }
}

const parsed = (body: string): RecordLine[] =>
  body
    .split('\n')
    .slice(0, -1)
    .map(line => recordLine.parse(JSON.parse(line)))
const namesOf = (lines: readonly RecordLine[]) =>
  lines.map(line => ('record' in line ? line.record.object.name : Object.keys(line)[0]))

/** Reads until there are `count` lines. */
async function some(response: IncomingMessage, count: number): Promise<RecordLine[]> {
  let body = ''
  for await (const piece of response.setEncoding('utf8').iterator({ destroyOnReturn: false })) {
    body += piece
    if (parsed(body).length >= count) break
  }
  return parsed(body)
}

test('what is asked for by time and object comes in its order, and the answer ends', async t => {
  const { recorder, clock, ask, note } = await aServer(t)
  note('10.0.0.0/24')
  clock.advance(60_000)
  recorder.record({ type: 'Healed', object: { kind: 'Route', name: '10.0.0.0/24' }, reason: 'r', message: 'm' })
  note('10.0.1.0/24')
  const all = async (query: string) => namesOf(parsed(await text(await ask(query))))
  t.deepEqual(await all('since=1970-01-01T00:00:00Z'), ['10.0.0.0/24', '10.0.0.0/24', '10.0.1.0/24'])
  t.deepEqual(await all('since=1970-01-01T00:01:00Z'), ['10.0.0.0/24', '10.0.1.0/24'])
  t.deepEqual(await all('object=route/10.0.0.0/24'), ['10.0.0.0/24', '10.0.0.0/24'])
  t.deepEqual(await all('object=Link/10.0.0.0/24'), [])
})

test('who follows from a time on gets what was before and what comes, each once, also what came while that was read', async t => {
  const { recorder, ask, note } = await aServer(t)
  for (let i = 0; i < 700; i++) note(`before ${i}`)
  const response = await ask('since=1970-01-01T00:00:00Z&follow')
  for (let i = 0; i < 300; i++) note(`meanwhile ${i}`)
  const first = await some(response, 1001)
  recorder.record({ type: 'Healed', object: { kind: 'Link', name: 'after' }, reason: 'r', message: 'm' })
  const [last] = await some(response, 1)
  t.deepEqual(
    [...first, last!].flatMap(line => ('record' in line ? line.record.seq : [])),
    Array.from({ length: 1001 }, (_, i) => i + 1),
  )
  t.deepEqual(first[700], { reached: 700 }, 'what was there is told before what came')
  t.deepEqual(namesOf([last!]), ['after'])
  response.destroy()
})

test('who follows without a time hears of what comes alone, of its object', async t => {
  const { ask, note } = await aServer(t)
  note('10.0.0.0/24')
  const response = await ask('follow&object=Route/10.0.1.0/24')
  note('10.0.0.0/24')
  note('10.0.1.0/24')
  t.deepEqual(namesOf(await some(response, 2)), ['reached', '10.0.1.0/24'])
  response.destroy()
})

test('who follows and does not read has a bounded number of records waiting, and is told how many were left out', async t => {
  const { recorder, ask } = await aServer(t)
  const response = await ask('follow')
  const message = 'x'.repeat(1900)
  const count = 3000
  for (let i = 0; i < count; i++)
    recorder.record({ type: 'Healed', object: { kind: 'Link', name: `${i}` }, reason: 'r', message })
  let [read, lost] = [0, 0]
  let body = ''
  for await (const piece of response.setEncoding('utf8')) {
    body += piece
    const lines = body.split('\n')
    body = lines.pop()!
    for (const line of lines) {
      const told = recordLine.parse(JSON.parse(line))
      if ('lost' in told) lost += told.lost
      else if ('record' in told) read++
    }
    if (read + lost >= count) break
    // what was left out is told with the next one that is not
    if (read > 0 && body === '')
      recorder.record({ type: 'Healed', object: { kind: 'Link', name: 'next' }, reason: 'r', message: '' })
  }
  t.true(lost > 0 && read < count, `${read} read, ${lost} lost`)
})
