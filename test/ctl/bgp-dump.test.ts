// `margayctl bgp dump` against margay-bgp's own routes, and against a program that dies while it answers.
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { controlRoutes } from '../../agent/bgp-control.ts'
import { serveSocket } from '../../agent/socket/server.ts'
import { MemoryNetwork } from '../../bgp/simulation/memory-transport.ts'
import { Speaker } from '../../bgp/speaker.ts'
import { mrtSplitter, parseMrt } from '../../bgp/wire/mrt.ts'
import type { HttpRoute } from '../../lib/http-routes.ts'
import { silentLog } from '../../lib/log.ts'
import { runCtl } from './run.ts'

async function serve(t: ExecutionContext, routes: Readonly<Record<string, HttpRoute>>) {
  const temporary = mkdtempSync(join(tmpdir(), 'margayctl-'))
  const path = join(temporary, 'control')
  const folder = join(temporary, 'dumps')
  mkdirSync(folder)
  const socket = await serveSocket(path, routes, silentLog)
  t.teardown(async () => {
    await socket.close()
    rmSync(temporary, { recursive: true })
  })
  return { folder, dump: (file: string) => runCtl(['bgp', 'dump', file, '--socket', path]) }
}

test('the dump is a file that is there whole, in place of an older one', async t => {
  const transport = new MemoryNetwork().host('192.0.2.1')
  const speaker = new Speaker({ asn: 65001, routerId: '192.0.2.1' }, { transport })
  t.teardown(() => speaker.close())
  for (let i = 0; i < 2000; i++) speaker.announce({ prefix: `10.${i >> 8}.${i & 255}.0/24` })
  const reload = () => Promise.reject(new Error('not asked for'))
  const { folder, dump } = await serve(t, controlRoutes({ speaker, reload }))
  const file = join(folder, 'rib.mrt')
  writeFileSync(file, 'an older one')
  const run = await dump(file)
  const bytes = readFileSync(file)
  t.deepEqual(run, { code: 0, out: `${file}: ${bytes.length} octets\n`, err: '' })
  const kinds: string[] = []
  mrtSplitter().push(bytes, (b, start, end) => void kinds.push(parseMrt(b, start, end).kind))
  t.is(kinds.filter(kind => kind === 'rib').length, 2000)
  t.deepEqual(readdirSync(folder).sort(), ['rib.mrt'])
  const nowhere = await dump(join(folder, 'none', 'rib.mrt'))
  t.is(nowhere.code, 2)
  t.regex(nowhere.err, /rib\.mrt cannot be written: ENOENT.*Name a file in a folder where you may write/)
})

test('an answer that ends too early leaves no file, and an older one as it was', async t => {
  const { folder, dump } = await serve(t, {
    'GET /dump': (_request, response) => {
      response.writeHead(200)
      response.write('half', () => response.destroy())
    },
  })
  const file = join(folder, 'rib.mrt')
  writeFileSync(file, 'an older one')
  const run = await dump(file)
  t.is(run.code, 3)
  t.regex(run.err, /ended its answer too early/)
  t.is(readFileSync(file, 'utf8'), 'an older one')
  t.deepEqual(readdirSync(folder).sort(), ['rib.mrt'])
})
