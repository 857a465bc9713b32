// The installed plugin with an agent that somebody took over: what it executes, and what that reads, is the runtime's word.
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { anAgent, ENV, installedPlugin, runPlugin } from './run-plugin.ts'

const answer = (more: object): string =>
  `HTTP/1.1 200 OK\r\n\r\n${JSON.stringify({ exitCode: 0, stdout: '', ...more })}`

test('an agent has the plugin execute nothing that the configuration does not name, and of what it says only CIDRs are handed on', async t => {
  const { folder, plugin, socket } = installedPlugin(t)
  const read = join(folder, 'read')
  for (const name of ['evil', 'dhcp'])
    writeFileSync(join(folder, 'bin', name), `#!/bin/sh\ncat >${read}\n`, { mode: 0o755 })
  let says: object = {}
  await anAgent(t, socket, connection => connection.end(answer({ delegate: says })))
  const run = async (ipam: object): Promise<string | undefined> => {
    writeFileSync(read, '')
    const env = { ...ENV, CNI_COMMAND: 'DEL', CNI_PATH: join(folder, 'bin') }
    await runPlugin(plugin, { env, input: JSON.stringify({ agentSocket: socket, name: 'net', ipam }) })
    return readFileSync(read, 'utf8') || undefined
  }
  for (const type of [
    undefined,
    '',
    'margay',
    'calico-ipam',
    '../bin/evil',
    './evil',
    'ev\u0000il',
    'dhcp',
    `${folder}/bin/evil`,
  ])
    t.is(await run({ type }), undefined, `${type}`)
  const range = { type: 'evil', subnet: 'usePodCidr' }
  says = { podCidr: '10.1.0.0/24","dataDir":"/etc', type: 'other', stdin: 'x' }
  t.deepEqual(JSON.parse((await run(range))!).ipam, range)
  says = { podCidr: '10.1.0.0/24' }
  t.deepEqual(JSON.parse((await run(range))!).ipam, { ...range, subnet: '10.1.0.0/24' })
})

test('of a GC that failed in part the other plugin is told what was deleted, not the GC, and the error is the answer', async t => {
  const { folder, plugin, socket } = installedPlugin(t)
  const log = join(folder, 'log')
  writeFileSync(join(folder, 'bin/other'), `#!/bin/sh\necho "$CNI_COMMAND $CNI_CONTAINERID $CNI_IFNAME" >>${log}\n`, {
    mode: 0o755,
  })
  const gone = [
    { containerID: 'a', ifname: 'eth0' },
    { containerID: 'b', ifname: 'net1' },
  ]
  const failed = { exitCode: 1, stdout: '{"code":5}', delegate: { gone } }
  await anAgent(t, socket, connection => connection.end(answer(failed)))
  const env = { ...ENV, CNI_COMMAND: 'GC', CNI_PATH: join(folder, 'bin') }
  const input = JSON.stringify({ agentSocket: socket, name: 'net', ipam: { type: 'other' } })
  const { code, stdout } = await runPlugin(plugin, { env, input })
  t.deepEqual([code, stdout.toString()], [1, '{"code":5}\n'])
  t.is(readFileSync(log, 'utf8'), 'DEL a eth0\nDEL b net1\n')
})

test('an answer that is an error is told, and nothing is executed for it', async t => {
  const { folder, plugin, socket } = installedPlugin(t)
  const mark = join(folder, 'mark')
  writeFileSync(join(folder, 'bin/other'), `#!/bin/sh\ntouch ${mark}\n`, { mode: 0o755 })
  await anAgent(t, socket, connection => connection.end(answer({ exitCode: 1, stdout: '{"code":7}', delegate: {} })))
  const env = { ...ENV, CNI_COMMAND: 'DEL', CNI_PATH: join(folder, 'bin') }
  const input = JSON.stringify({ agentSocket: socket, name: 'net', ipam: { type: 'other' } })
  t.like(await runPlugin(plugin, { env, input }), { code: 1 })
  t.false(existsSync(mark))
})

test('a name of a plugin that JSON escapes is the same name', async t => {
  const { folder, plugin, socket } = installedPlugin(t)
  writeFileSync(join(folder, 'bin/other'), '#!/bin/sh\necho "$CNI_COMMAND" >&2\n', { mode: 0o755 })
  await anAgent(t, socket, connection => connection.end(answer({ delegate: {} })))
  const env = { ...ENV, CNI_COMMAND: 'DEL', CNI_PATH: join(folder, 'bin') }
  const input = `{"agentSocket":"${socket}","name":"net","ipam":{"type":"\\u006fther"}}`
  const { code, stderr } = await runPlugin(plugin, { env, input })
  t.deepEqual([code, stderr], [0, 'DEL\n'])
})

test('another plugin that prints too much is told to free what it gave', async t => {
  const { folder, plugin, socket } = installedPlugin(t)
  const log = join(folder, 'log')
  writeFileSync(
    join(folder, 'bin/other'),
    `#!/bin/sh\necho "$CNI_COMMAND" >>${log}\n[ "$CNI_COMMAND" = DEL ] || exec cat /dev/zero\n`,
    { mode: 0o755 },
  )
  await anAgent(t, socket, connection => connection.end(answer({ delegate: {} })))
  const env = { ...ENV, CNI_COMMAND: 'ADD', CNI_PATH: join(folder, 'bin') }
  const input = JSON.stringify({ agentSocket: socket, name: 'net', ipam: { type: 'other' } })
  const { code, stdout } = await runPlugin(plugin, { env, input })
  t.is(code, 1)
  t.regex(JSON.parse(stdout.toString()).msg, /other of ipam.type printed too much/)
  t.is(readFileSync(log, 'utf8'), 'ADD\nDEL\n')
})

test('another plugin is done when it ends, though what it left behind may print still', async t => {
  const { folder, plugin, socket } = installedPlugin(t)
  const left = join(folder, 'left')
  writeFileSync(
    join(folder, 'bin/other'),
    `#!/bin/sh\nsleep 1000 2>/dev/null &\necho $! >${left}\necho '{"code":77,"msg":"x"}'\nexit 1\n`,
    {
      mode: 0o755,
    },
  )
  await anAgent(t, socket, connection => connection.end(answer({ delegate: {} })))
  const env = { ...ENV, CNI_COMMAND: 'DEL', CNI_PATH: join(folder, 'bin') }
  const input = JSON.stringify({ agentSocket: socket, name: 'net', ipam: { type: 'other' } })
  t.teardown(() => process.kill(Number(readFileSync(left, 'utf8'))))
  const { code, stdout } = await runPlugin(plugin, { env, input })
  t.deepEqual([code, stdout.toString()], [1, '{"code":77,"msg":"x"}\n'])
})

test('another plugin that fails and prints no error is told as one', async t => {
  const { folder, plugin, socket } = installedPlugin(t)
  await anAgent(t, socket, connection => connection.end(answer({ delegate: {} })))
  const env = { ...ENV, CNI_COMMAND: 'DEL', CNI_PATH: join(folder, 'bin') }
  const input = JSON.stringify({ agentSocket: socket, name: 'net', ipam: { type: 'other' } })
  for (const printed of [
    '7',
    '[]',
    '{}',
    '{"cniVersion":"1.0.0","ips":[]}',
    '{"code":"7","msg":"x"}',
    '{"code":7,"msg":{}}',
  ]) {
    writeFileSync(join(folder, 'bin/other'), `#!/bin/sh\necho '${printed}'\nexit 3\n`, { mode: 0o755 })
    const { code, stdout } = await runPlugin(plugin, { env, input })
    t.is(code, 1, printed)
    t.regex(JSON.parse(stdout.toString()).msg, /other of ipam.type failed and said no error/, printed)
  }
})
