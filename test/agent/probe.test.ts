// What a kubelet hears when it runs `margay-node probe` in the agent's container.
import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import test from 'ava'

const MAIN = fileURLToPath(new URL('../../agent/main.ts', import.meta.url))

function probe(runDir: string, what: string): Promise<{ code: unknown; stdout: string }> {
  return new Promise(resolve =>
    execFile(process.execPath, [MAIN, 'probe', what, '--run-dir', runDir], (error, stdout) =>
      resolve({ code: error?.code ?? 0, stdout }),
    ),
  )
}

test('a probe says yes, or no and why; an agent that is not there, or is not asked the right thing, is no yes', async t => {
  const runDir = mkdtempSync(join(tmpdir(), 'margay-probe-'))
  t.teardown(() => rmSync(runDir, { recursive: true }))
  const away = await probe(runDir, 'live')
  t.is(away.code, 1)
  t.regex(away.stdout, /agent\.sock: .*ENOENT/)

  const conditions = [
    { type: 'PoolsUsable', status: 'False', message: 'there is no IPPool' },
    { type: 'KernelInSync', status: 'True', message: '' },
  ]
  const server = createServer((request, response) => {
    response.statusCode = request.url === '/livez' ? 200 : 503
    response.end(JSON.stringify(conditions))
  })
  await new Promise<void>(resolve => server.listen(join(runDir, 'agent.sock'), resolve))
  t.teardown(() => server.close())
  const [live, ready, wrong] = await Promise.all(['live', 'ready', 'alive'].map(what => probe(runDir, what)))
  t.deepEqual(live, { code: 0, stdout: '' })
  t.deepEqual(ready, { code: 1, stdout: 'PoolsUsable: there is no IPPool\n' })
  t.is(wrong!.code, 2)
})
