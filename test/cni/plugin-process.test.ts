// The installed plugin as a process: its environment and its name, closed descriptors, signals, and the path of the socket.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import test from 'ava'
import { systemProgram } from '../../lib/system-program.ts'
import { type Asked, anAgent, ENV, errorOf, httpAnswer, installedPlugin, runPlugin } from './run-plugin.ts'

const RESULT = '{"cniVersion":"1.1.0","ips":[{"address":"10.244.0.1/32"}]}'

test('an environment of almost 2 MiB is read, and all its CNI variables are sent', async t => {
  const { plugin, socket } = installedPlugin(t)
  const asked: Asked[] = []
  await anAgent(t, socket, (connection, request) => {
    asked.push(request)
    connection.end(httpAnswer(0, ''))
  })
  const many = Object.fromEntries([...Array(9000).keys()].map(i => [`${i % 2 ? 'CNI_' : 'X'}${i}`, 'v'.repeat(170)]))
  const env: Record<string, string> = { ...many, LARGE: 'x'.repeat(120_000), ...ENV, CNI_ARGS: 'a'.repeat(120_000) }
  const { code } = await runPlugin(plugin, { input: JSON.stringify({ agentSocket: socket }), env })
  t.is(code, 0)
  t.deepEqual(asked[0]?.env, Object.fromEntries(Object.entries(env).filter(([name]) => name.startsWith('CNI_'))))
})

test('without an environment the plugin says what it is, and its name does not matter', async t => {
  const { plugin } = installedPlugin(t)
  for (const argv0 of ['', 'margay', '/opt/cni/bin/margay', 'a b\n"', 'x'.repeat(100_000)]) {
    const none = await runPlugin(plugin, { env: {}, argv0 })
    t.deepEqual([none.code, none.stdout.length], [0, 0])
    t.regex(none.stderr, /^Margay: .*\n.*1\.1\.0\n$/)
    const version = await runPlugin(plugin, { env: { CNI_COMMAND: 'VERSION' }, argv0 })
    t.is(version.code, 0)
  }
})

test('a closed standard output is no death by a signal: the exit code tells that the result was not printed', async t => {
  const { plugin, socket } = installedPlugin(t)
  const asked: string[] = []
  await anAgent(t, socket, (connection, { env, stdin }) => {
    asked.push(stdin)
    connection.end(httpAnswer(0, env['CNI_COMMAND'] === 'DEL' ? '' : RESULT))
  })
  const input = JSON.stringify({ agentSocket: socket })
  const shell = async (redirected: string, CNI_COMMAND: string) => {
    const child = spawn(systemProgram('sh'), ['-c', `exec "${plugin}" ${redirected}`], {
      env: { ...ENV, CNI_COMMAND },
      stdio: ['pipe', 'pipe', 'pipe'],
    })
    let said = ''
    child.stderr.on('data', chunk => {
      said += chunk
    })
    child.stdin.on('error', () => {})
    child.stdin.end(input)
    const [code, signal] = await once(child, 'close')
    return { code, signal, said }
  }
  const lost = /^margay: the answer could not be written to standard output: (EBADF|ENOSPC|EPIPE)\n$/
  for (const redirected of ['>&-', '>/dev/full', '| exit 0']) {
    const add = await shell(redirected, 'ADD')
    if (redirected.startsWith('>')) {
      t.deepEqual([add.code, add.signal], [1, null])
      t.regex(add.said, lost)
    }
    const del = await shell(redirected, 'DEL')
    t.deepEqual([del.code, del.signal, del.said], [0, null, ''])
  }
  t.deepEqual(new Set(asked), new Set([input]))
  t.deepEqual(await shell('>&- 2>&-', 'ADD'), { code: 1, signal: null, said: '' })

  const child = spawn(plugin, { env: ENV, stdio: ['pipe', 'pipe', 'pipe'] })
  let said = ''
  child.stderr.on('data', chunk => {
    said += chunk
  })
  child.stdout.destroy()
  await once(child.stdout, 'close')
  child.stdin.end(input)
  t.deepEqual(await once(child, 'close'), [1, null])
  t.regex(said, lost)
})

test('with standard input, output and error closed, nothing is asked and nothing goes to a descriptor that is something else', async t => {
  const { plugin, folder } = installedPlugin(t)
  const command = `exec "${plugin}" <&- >&- 2>&-`
  const closed = spawn(systemProgram('sh'), ['-c', command], { env: ENV, stdio: 'ignore' })
  t.deepEqual(await once(closed, 'exit'), [1, null])
  const toFile = `exec "${plugin}" <&- >"${folder}/out" 2>&-`
  t.deepEqual(await once(spawn(systemProgram('sh'), ['-c', toFile], { env: ENV, stdio: 'ignore' }), 'exit'), [1, null])
  t.like(errorOf(readFileSync(join(folder, 'out'))), { code: 5, msg: 'reading standard input failed: EBADF' })
})

test('a plugin that is stopped and goes on while it waits has the answer', async t => {
  const { plugin, socket } = installedPlugin(t)
  const child = spawn(plugin, { env: ENV, stdio: ['pipe', 'pipe', 'inherit'] })
  await anAgent(t, socket, async connection => {
    connection.write('HTTP/1.1 200 OK\r\n\r\n')
    for (let i = 0; i < 20; i++) {
      child.kill('SIGSTOP')
      while (!/^State:\s+T/m.test(readFileSync(`/proc/${child.pid}/status`, 'utf8'))) await nextTurn()
      connection.write(' ')
      child.kill('SIGCONT')
      while (/^State:\s+T/m.test(readFileSync(`/proc/${child.pid}/status`, 'utf8'))) await nextTurn()
    }
    connection.end(JSON.stringify({ exitCode: 0, stdout: RESULT }))
  })
  let stdout = ''
  child.stdout.on('data', chunk => {
    stdout += chunk
  })
  child.stdin.end(JSON.stringify({ agentSocket: socket }))
  t.deepEqual(await once(child, 'close'), [0, null])
  t.is(stdout, `${RESULT}\n`)
})

test('the socket of the configuration is found under every spelling, through links, and up to 107 bytes', async t => {
  const { plugin, socket, folder } = installedPlugin(t)
  await anAgent(t, socket, connection => connection.end(httpAnswer(0, 'here')))
  const longest = `${folder}/`.padEnd(107, 'x')
  symlinkSync(socket, longest)
  symlinkSync(socket, join(folder, 'ä"\\'))
  const path = JSON.stringify(socket)
  const dotted = JSON.stringify(socket.replaceAll('/', '/./').slice(0, 107))
  for (const input of [
    `{"agentSocket":${path}}`,
    `{"AGENTSOCKET":${path}}`,
    `{"agentsoc\u212aet":${path}}`,
    `{"\\u0061gentSocket":${path}}`,
    `{"agentsocket":"/nowhere","agentSocket":${path}}`,
    `{"agentSocket":${path},"agentsocket":"/nowhere"}`,
    `{"agentsocket":${path},"AGENTSOCKET":"/nowhere"}`,
    `{"agentSocket":"/nowhere","agentSocket":${path}}`,
    `{"a":{"agentSocket":"/nowhere"},"agentSocket":${path.replaceAll('/', '\\/')},"b":["agentSocket"]}`,
    `{"agentSocket":"${longest}"}`,
    JSON.stringify({ agentSocket: join(folder, 'ä"\\') }),
    `{"agentSocket":${dotted}}`,
  ]) {
    const { code, stdout } = await runPlugin(plugin, { input })
    t.deepEqual([code, stdout.toString()], [0, 'here\n'], input)
  }
})

test('a socket that cannot be one is code 2, and one that is not there or is something else is code 11', async t => {
  const { plugin, folder } = installedPlugin(t)
  const at = (name: string) => join(folder, name)
  writeFileSync(at('file'), '')
  symlinkSync(at('loop'), at('loop'))
  for (const [agentSocket, code, msg] of [
    ['', 2, 'invalid value of agentSocket: ""'],
    ['agent.sock', 2, 'invalid value of agentSocket: "agent.sock"'],
    [' /x', 2, 'invalid value of agentSocket: " /x"'],
    [7, 2, 'invalid value of agentSocket: 7'],
    [['/x'], 2, 'invalid value of agentSocket: ["/x"]'],
    [`${folder}\u0000/x`, 2, `invalid value of agentSocket: ${JSON.stringify(`${folder}\u0000/x`)}`],
    [`/${'x'.repeat(107)}`, 2, `invalid value of agentSocket: "/${'x'.repeat(107)}"`],
    [`/${'é'.repeat(54)}`, 2, `invalid value of agentSocket: "/${'é'.repeat(54)}"`],
    [`/${'x'.repeat(106)}`, 11, /: connect ENOENT$/],
    [at('none'), 11, /: connect ENOENT$/],
    [at('file'), 11, /: connect ECONNREFUSED$/],
    [folder, 11, /: connect ECONNREFUSED$/],
    [at('file/x'), 11, /: connect ENOTDIR$/],
    [at('loop'), 11, /: connect ELOOP$/],
  ] as const) {
    const input = JSON.stringify({ cniVersion: '1.0.0', agentSocket })
    const ended = await runPlugin(plugin, { input })
    t.is(ended.code, 1)
    t.like(errorOf(ended.stdout), { code, cniVersion: '1.0.0' })
    if (typeof msg === 'string') t.is(errorOf(ended.stdout).msg, msg)
    else t.regex(errorOf(ended.stdout).msg, msg)
  }
})
