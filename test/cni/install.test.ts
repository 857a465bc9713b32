// The plugin as it is installed, without an agent.
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { CAPABILITIES } from '../../cni/capabilities.ts'
import { installPlugin } from '../../cni/install.ts'
import { CNI_VERSIONS } from '../../cni/result.ts'

function installed(t: ExecutionContext): { folder: string; plugin: string; conf: string; socket: string } {
  const folder = mkdtempSync(join(tmpdir(), 'margay-plugin-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const socket = join(folder, 'agent.sock')
  const options = { binDir: join(folder, 'bin'), confDir: join(folder, 'net.d'), socket }
  const { plugin, conf = '' } = installPlugin(options)
  return { folder, plugin, conf, socket }
}

test('the plugin is one executable file under two names, and nothing else lies beside it', t => {
  const { folder, plugin } = installed(t)
  t.deepEqual(readdirSync(join(folder, 'bin')), ['margay', 'margay-ipam'])
  for (const path of [plugin, `${plugin}-ipam`]) t.is(statSync(path).mode & 0o777, 0o755)
  t.deepEqual(readFileSync(`${plugin}-ipam`), readFileSync(plugin))
})

test('an older plugin in the place is replaced, and one whose mode was changed gets its mode back', t => {
  const { folder, plugin, socket } = installed(t)
  const program = readFileSync(plugin)
  for (const spoil of [() => writeFileSync(plugin, '#!/usr/bin/node\n'), () => chmodSync(plugin, 0o644)]) {
    spoil()
    installPlugin({ binDir: join(folder, 'bin'), socket })
    t.deepEqual(readFileSync(plugin), program)
    t.is(statSync(plugin).mode & 0o777, 0o755)
  }
})

test('installing the same files again writes nothing', t => {
  const { folder, plugin, socket } = installed(t)
  const before = statSync(plugin).ino
  installPlugin({ binDir: join(folder, 'bin'), socket })
  t.is(statSync(plugin).ino, before)
})

test('the configuration lists versions that present runtimes know', t => {
  const { conf, socket } = installed(t)
  t.like(JSON.parse(readFileSync(conf, 'utf8')), {
    cniVersion: '1.0.0',
    cniVersions: ['0.4.0', '1.0.0', '1.1.0'],
    plugins: [{ type: 'margay', agentSocket: socket }],
  })
})

test('the configuration has the capabilities that ours acts on, and ipRanges, which is refused and not lost', t => {
  const [{ capabilities }] = JSON.parse(readFileSync(installed(t).conf, 'utf8')).plugins
  const actedOn = Object.entries(CAPABILITIES).filter(([, capability]) => 'does' in capability)
  t.deepEqual(Object.keys(capabilities), [...actedOn.map(([name]) => name), 'ipRanges'])
})

test('without a command the plugin prints what it is and its versions on stderr, and exits with 0', t => {
  const { plugin } = installed(t)
  const { status, stdout, stderr } = spawnSync(plugin, { env: {}, input: '', encoding: 'utf8' })
  t.deepEqual([status, stdout], [0, ''])
  t.true(CNI_VERSIONS.every(version => stderr.includes(version)))
})

test('VERSION needs neither agent nor input, and lists the versions of the verbs', t => {
  const { plugin } = installed(t)
  for (const [input, cniVersion] of [
    ['', '1.1.0'],
    ['not json', '1.1.0'],
    ['{"cniVersion":"0.4.0"}', '0.4.0'],
  ] as const) {
    const stdout = execFileSync(plugin, { env: { CNI_COMMAND: 'VERSION' }, input, encoding: 'utf8' })
    t.deepEqual(JSON.parse(stdout), { cniVersion, supportedVersions: CNI_VERSIONS })
  }
})

for (const [name, input, code] of [
  ['input that is no JSON', '{', 6],
  ['input that is no object', '[1]', 6],
  ['a socket that is no absolute path', '{"agentSocket":"agent.sock"}', 2],
  ['five megabytes of input', `{"x":"${'y'.repeat(5 << 20)}"}`, 6],
] as const)
  test(`${name} is code ${code}`, t => {
    const { plugin } = installed(t)
    const { status, stdout } = spawnSync(plugin, { env: { CNI_COMMAND: 'ADD' }, input, encoding: 'utf8' })
    t.is(status, 1)
    t.is(JSON.parse(stdout).code, code)
  })

for (const [name, reply] of [
  ['hangs up', ''],
  ['answers 500', 'HTTP/1.1 500 Internal Server Error\r\n\r\n'],
  ['is cut off in its answer', 'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"exitCode":0,'],
  ['answers something else', 'HTTP/1.1 200 OK\r\n\r\n{}'],
] as const)
  test(`an agent that ${name} is code 11, so that the runtime tries again`, async t => {
    const { plugin, socket, conf: _conf } = installed(t)
    const server = createServer(connection => connection.once('data', () => connection.end(reply)))
    await new Promise<void>(resolve => server.listen(socket, resolve))
    t.teardown(() => server.close())
    const env = { CNI_COMMAND: 'DEL', CNI_CONTAINERID: 'c1', CNI_IFNAME: 'eth0', CNI_PATH: '/opt/cni/bin' }
    const child = spawn(plugin, { env, stdio: ['pipe', 'pipe', 'inherit'] })
    let stdout = ''
    child.stdout.on('data', chunk => {
      stdout += chunk
    })
    child.stdin.end(JSON.stringify({ cniVersion: '1.0.0', name: 'net', agentSocket: socket }))
    const [status] = await once(child, 'close')
    t.is(status, 1)
    t.like(JSON.parse(stdout), { cniVersion: '1.0.0', code: 11 })
  })
