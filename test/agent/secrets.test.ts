// Secrets are planted where a program reads them, and looked for in all that it tells: logs at the finest level, answers of its
// socket, the dump, errors of a configuration that is refused and of a server that is away.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import test, { type ExecutionContext } from 'ava'
import { BgpDaemon } from '../../agent/bgp-daemon.ts'
import { disconnected } from '../../agent/status/api-server.ts'
import { TcpTransport } from '../../bgp/tcp-transport.ts'
import { ApiConnection } from '../../datastore/connection.ts'
import { createLog } from '../../lib/log.ts'

const PASSWORD = 'planted-bgp-password'
const TOKEN = 'planted-token-of-a-kubeconfig'
const KEY = 'planted-private-key'

function folder(t: ExecutionContext): string {
  const path = mkdtempSync(join(tmpdir(), 'margay-secrets-'))
  t.teardown(() => rmSync(path, { recursive: true, force: true }))
  return path
}

/** A log of the finest level, and all that was written to it. */
function aLog() {
  const lines: string[] = []
  const write = (line: unknown, _encoding: unknown, done: () => void) => {
    lines.push(String(line))
    done()
  }
  return { log: createLog('test', 'trace', new Writable({ write })), lines }
}

function ask(socketPath: string, method: string, path: string, body = ''): Promise<string> {
  return new Promise((resolve, reject) => {
    request(
      { socketPath, method, path },
      response => void buffer(response).then(b => resolve(b.toString('latin1')), reject),
    )
      .on('error', reject)
      .end(body)
  })
}

test('the password of a BGP session is in no log, no answer of the socket and no dump, nor when its file is refused', async t => {
  const dir = folder(t)
  const path = join(dir, 'bgp.yaml')
  const control = join(dir, 'control')
  const write = (neighbor: string) =>
    writeFileSync(path, `asn: 65001\nrouterId: 192.0.2.1\ncontrol: ${control}\nneighbors:\n  - ${neighbor}\n`)
  write(`{address: 127.0.0.9, asn: 65002, password: ${PASSWORD}}`)
  const { log, lines } = aLog()
  const transport = new TcpTransport()
  const openSink = () => {
    throw new Error('no kernel here')
  }
  const daemon = new BgpDaemon(path, { transport, openSink, discover: () => () => undefined, log })
  await daemon.start()
  const told: string[] = []
  for (const question of ['/healthz', '/peers', '/route?prefix=10.0.0.0/8', '/bmp', '/dump'])
    told.push(await ask(control, 'GET', question))
  // what is wrong is beside the password, then the password itself
  for (const neighbor of [
    `{address: 127.0.0.9, asn: 65002, password: ${PASSWORD}, holdTime: 1}`,
    `{address: 127.0.0.9, asn: 65002, password: [${PASSWORD}]}`,
    `{address: 127.0.0.9, asn: 65002, password: ${PASSWORD.repeat(20)}}`,
    `{address: 127.0.0.9, asn: 65002, password: ${PASSWORD}`,
  ]) {
    write(neighbor)
    told.push(await ask(control, 'POST', '/reload', '{}'))
  }
  await daemon.stop()
  t.true(told.every(text => text !== ''))
  for (const text of [...told, ...lines]) t.false(text.includes(PASSWORD), text)
})

test('the token and the key of a kubeconfig are in no error of a server that is away, and in no log of it', async t => {
  const path = join(folder(t), 'kubeconfig')
  const user = { token: TOKEN, 'client-key-data': Buffer.from(KEY).toString('base64') }
  writeFileSync(
    path,
    JSON.stringify({
      'current-context': 'c',
      contexts: [{ name: 'c', context: { cluster: 'c', user: 'u' } }],
      clusters: [{ name: 'c', cluster: { server: 'https://127.0.0.1:1' } }],
      users: [{ name: 'u', user }],
    }),
  )
  const { log, lines } = aLog()
  const connection = new ApiConnection({ kubeconfig: path })
  for (const method of ['GET', 'POST']) {
    const error = await t.throwsAsync(
      connection.call({ method, path: '/api', body: method === 'GET' ? undefined : {} }),
    )
    log.error({ err: error }, 'watch lost')
    log.error({ condition: disconnected(error) })
  }
  connection.close()
  t.true(lines.length >= 4)
  for (const secret of [TOKEN, KEY, Buffer.from(KEY).toString('base64')])
    for (const line of lines) t.false(line.includes(secret), line)
})

test('a log hides what a record calls a password, a token, a secret or a key', t => {
  const { log, lines } = aLog()
  log.info({
    password: PASSWORD,
    peer: { password: PASSWORD },
    request: { headers: { authorization: TOKEN } },
    token: TOKEN,
  })
  t.is(lines.length, 1)
  t.false(lines[0]!.includes(PASSWORD) || lines[0]!.includes(TOKEN), lines[0])
})
