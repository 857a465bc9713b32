import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'

const PROGRAM = new URL('../../agent/main.ts', import.meta.url).pathname

function aFolder(t: ExecutionContext): string {
  const path = mkdtempSync(join(tmpdir(), 'margay-cache-'))
  t.teardown(() => rmSync(path, { recursive: true, force: true }))
  return path
}

/** Starts the agent with a kubeconfig that does not exist: it loads everything and ends. What Node says of its cache. */
function start(folder: string, dataDir: string) {
  const { NODE_COMPILE_CACHE: _, ...env } = process.env
  const flags = ['--data-dir', dataDir, '--run-dir', join(folder, 'run'), '--kubeconfig', join(folder, 'missing')]
  const options = { env: { ...env, NODE_DEBUG_NATIVE: 'COMPILE_CACHE' }, encoding: 'utf8', maxBuffer: 2 ** 26 } as const
  const { stdout, stderr, status } = spawnSync(process.execPath, [PROGRAM, ...flags], options)
  const lines = `${stdout}${stderr}`.split('\n').filter(line => line.includes('/agent/node-agent.ts'))
  return { status, hits: lines.filter(line => / was accepted|transpile cache .*success/.test(line)).length }
}

test('the second start of the agent takes its modules from the compile cache in the data directory', t => {
  const folder = aFolder(t)
  const dataDir = join(folder, 'data')
  t.deepEqual(start(folder, dataDir), { status: 3, hits: 0 })
  t.deepEqual(start(folder, dataDir), { status: 3, hits: 2 }, 'one without types, one compiled')
  t.is(statSync(dataDir).mode & 0o777, 0o700, 'nobody else may write code that root runs')
})

test('a data directory that cannot be made does not end the start before it is reported', t => {
  const folder = aFolder(t)
  const file = join(folder, 'a-file')
  writeFileSync(file, '')
  t.deepEqual(start(folder, join(file, 'data')), { status: 3, hits: 0 })
})
