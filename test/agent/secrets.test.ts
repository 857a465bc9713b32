// Secrets are planted where a program reads them, and looked for in all that it tells: logs at the finest level, answers of its
// socket, the dump, errors of a configuration that is refused and of a server that is away.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { inspect } from 'node:util'
import test, { type ExecutionContext } from 'ava'
import { BfdOnDemand } from '../../agent/bfd-on-demand.ts'
import { BgpDaemon } from '../../agent/bgp-daemon.ts'
import { disconnected } from '../../agent/status/api-server.ts'
import { BfdThread } from '../../bgp/bfd/thread.ts'
import { BmpCollector } from '../../bgp/bmp/collector.ts'
import { dumpMrt } from '../../bgp/mrt/dump.ts'
import { MemoryNetwork } from '../../bgp/simulation/memory-transport.ts'
import { Speaker } from '../../bgp/speaker.ts'
import { TcpTransport } from '../../bgp/tcp-transport.ts'
import { parseRequest } from '../../cni/request.ts'
import { ApiConnection } from '../../datastore/connection.ts'
import { ManualClock } from '../../lib/clock.ts'
import { createLog } from '../../lib/log.ts'
import { programFile } from '../../lib/package-files.ts'
import { settle } from '../bgp/settle.ts'

const PASSWORD = 'planted-bgp-password'
const SECRET = 'planted-bfd-secret'
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
  const withKey = (secret: string) =>
    `{address: 127.0.0.9, asn: 65002, password: ${PASSWORD}, bfd: {authentication: {type: sha1, keys: [{id: 1, secret: ${secret}}]}}}`
  write(withKey(SECRET))
  const { log, lines } = aLog()
  const transport = new TcpTransport()
  const bfd = new BfdOnDemand(() => new BfdThread(programFile('agent/bfd-worker')))
  const openKernel = () => {
    throw new Error('no kernel here')
  }
  const daemon = new BgpDaemon(path, { transport, openKernel, discover: () => () => undefined, bfd, log })
  await daemon.start()
  const told: string[] = []
  for (const question of ['/healthz', '/peers', '/bfd', '/route?prefix=10.0.0.0/8', '/bmp', '/dump'])
    told.push(await ask(control, 'GET', question))
  // what is wrong is beside the password, then the password itself
  for (const neighbor of [
    `{address: 127.0.0.9, asn: 65002, password: ${PASSWORD}, holdTime: 1}`,
    `{address: 127.0.0.9, asn: 65002, password: [${PASSWORD}]}`,
    `{address: 127.0.0.9, asn: 65002, password: ${PASSWORD.repeat(20)}}`,
    `{address: 127.0.0.9, asn: 65002, password: ${PASSWORD}`,
    withKey(`${SECRET}`.repeat(3)),
    withKey(`[${SECRET}]`),
  ]) {
    write(neighbor)
    told.push(await ask(control, 'POST', '/reload', '{}'))
  }
  await daemon.stop()
  t.true(told.every(text => text !== ''))
  for (const text of [...told, ...lines]) for (const secret of [PASSWORD, SECRET]) t.false(text.includes(secret), text)
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

test('a kubeconfig that cannot be read, in JSON or YAML, is told by the place of the fault and without a word of it', t => {
  const path = join(folder(t), 'kubeconfig')
  const { log, lines } = aLog()
  for (const [text, place] of [
    [`users:\n- name: u\n  user:\n    token: ${TOKEN}: x\n`, /is not YAML at line 4, column 12$/],
    [`{"users": [{"token": "${TOKEN}" "x"}]}`, /is not JSON at line 1 column 54$/],
    [`{"users": [{"token": ${TOKEN}}]}`, /is not JSON$/],
  ] as const) {
    writeFileSync(path, text)
    const error = t.throws(() => new ApiConnection({ kubeconfig: path }))
    t.regex(error!.message, place)
    log.fatal({ err: new Error('the kubeconfig cannot be used', { cause: error }) }, 'as the program does')
  }
  t.is(lines.length, 3)
  for (const line of lines) t.false(line.includes(TOKEN), line)
})

test('a CNI configuration that is no JSON is refused without a word of it, as runtimes log what they are told', t => {
  const env = { CNI_COMMAND: 'ADD', CNI_CONTAINERID: 'c', CNI_NETNS: '/n', CNI_IFNAME: 'eth0', CNI_PATH: '/p' }
  for (const stdin of [`{"policy": {"k8s_auth_token": ${TOKEN}}}`, `{"k8s_auth_token": "${TOKEN}" 1}`]) {
    const error = t.throws(() => parseRequest({ env, stdin }))
    t.regex(error!.message, /standard input is not JSON/)
    t.false(inspect(error, { depth: 9 }).includes(TOKEN), inspect(error))
  }
})

test('no octet that a BMP collector gets, and none of a table dump, holds the password of a session that is up', async t => {
  const network = new MemoryNetwork()
  const heard: Buffer[] = []
  const transport = (address: string) => network.host(address)
  const collector = await transport('10.0.0.99').listen({ address: '10.0.0.99', port: 11019 }, connection => {
    connection.handlers = { data: chunk => heard.push(Buffer.from(chunk)), drain: () => {}, closed: () => {} }
  })
  const [a, b] = [1, 2].map(n => {
    const address = `10.0.0.${n}`
    return new Speaker(
      { asn: 65000 + n, routerId: address },
      { transport: transport(address), clock: new ManualClock() },
    )
  }) as [Speaker, Speaker]
  const peer = { password: PASSWORD, import: 'accept', export: 'accept' } as const
  await a.listen({ address: '10.0.0.1', port: 179 })
  await b.listen({ address: '10.0.0.2', port: 179 })
  b.announce({ prefix: '198.51.100.0/24' })
  const bmp = new BmpCollector(
    { collector: '10.0.0.99', port: 11019, name: 'a', description: 'a' },
    { speaker: a, transport: transport('10.0.0.1'), clock: new ManualClock() },
  )
  bmp.start()
  a.setPeer({ ...peer, name: 'b', address: '10.0.0.2', asn: 65002 })
  b.setPeer({ ...peer, name: 'a', address: '10.0.0.1', asn: 65001 })
  await settle()
  t.is(a.peers()[0]?.state, 'Established')
  for (let i = 0; i < 20; i++) await new Promise(setImmediate)
  const dumped = Buffer.concat([...dumpMrt(a.rib, a.config, { seconds: 0 })].map(block => Buffer.from(block)))
  const stream = Buffer.concat(heard)
  t.true(stream.length > 200 && dumped.length > 50, `${stream.length} ${dumped.length}`)
  for (const octets of [stream, dumped]) t.false(octets.includes(PASSWORD))
  bmp.close()
  await Promise.all([a.close(), b.close(), collector.close()])
})
