// The installed plugin byte by byte: what it sends of what it was given, and what it prints of what it was sent, whole, in
// pieces, cut off or too long.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { setImmediate as nextTurn } from 'node:timers/promises'
import test from 'ava'
import fc from 'fast-check'
import { type Asked, anAgent, ENV, errorOf, httpAnswer, installedPlugin, runPlugin } from './run-plugin.ts'

const MOST_INPUT = 4 * 1024 * 1024
const RESULT = '{"cniVersion":"1.1.0","ips":[{"address":"10.244.0.1/32"}]}'

/** Many runs, eight at once. */
async function each<T>(items: readonly T[], body: (item: T) => Promise<void>): Promise<void> {
  const queue = [...items]
  const worker = async (): Promise<void> => {
    for (let item = queue.shift(); item !== undefined; item = queue.shift()) await body(item)
  }
  await Promise.all(Array.from({ length: 8 }, worker))
}

test('a configuration that is cut off anywhere is code 6', async t => {
  const { plugin } = installedPlugin(t)
  const whole = '{"cniVersion":"1.0.0","name":"n\\u00e4t","a":[1,-2.5e+3,true,null,{"b":"\\"é"}],"type":"margay"}'
  const bytes = Buffer.from(whole)
  await each([...bytes.keys()], async length => {
    const { code, stdout } = await runPlugin(plugin, { input: bytes.subarray(0, length) })
    t.is(code, 1)
    t.is(errorOf(stdout).code, 6, bytes.toString('utf8', 0, length))
  })
})

test('an answer that is cut off anywhere is code 11, and a whole one is printed', async t => {
  const { plugin, socket } = installedPlugin(t)
  const whole = Buffer.from(httpAnswer(0, RESULT))
  await anAgent(t, socket, (connection, { stdin }) => connection.end(whole.subarray(0, JSON.parse(stdin).length)))
  await each([...whole.keys(), whole.length], async length => {
    const { code, stdout } = await runPlugin(plugin, { input: JSON.stringify({ agentSocket: socket, length }) })
    t.is(code, length < whole.length ? 1 : 0)
    if (length === whole.length) t.is(stdout.toString(), `${RESULT}\n`)
    else t.is(errorOf(stdout).code, 11, `${length} bytes`)
  })
})

test('configuration and answer may come one byte at a time', async t => {
  const { plugin, socket } = installedPlugin(t)
  await anAgent(t, socket, async connection => {
    for (const byte of Buffer.from(httpAnswer(0, RESULT))) {
      connection.write(Buffer.of(byte))
      await nextTurn()
    }
    connection.end()
  })
  const child = spawn(plugin, { env: ENV, stdio: ['pipe', 'pipe', 'inherit'] })
  let stdout = ''
  child.stdout.on('data', chunk => {
    stdout += chunk
  })
  for (const byte of Buffer.from(JSON.stringify({ agentSocket: socket }))) {
    child.stdin.write(Buffer.of(byte))
    await nextTurn()
  }
  child.stdin.end()
  t.deepEqual(await once(child, 'close'), [0, null])
  t.is(stdout, `${RESULT}\n`)
})

test('what JSON.parse takes as an object is taken as a configuration, and nothing else', async t => {
  const { plugin } = installedPlugin(t)
  const words = [
    '{',
    '}',
    '[',
    ']',
    ':',
    ',',
    '"',
    '\\',
    '\\u',
    '0',
    '-',
    '1e',
    '.5',
    'true',
    'nul',
    ' ',
    '\t',
    '\v',
    '\u0001',
    'é',
    '"a":',
    '{}',
    '01',
    '\ufeff',
    '\u00a0',
  ]
  const broken = fc
    .tuple(fc.object({ maxDepth: 2 }), fc.nat(), fc.nat(3), fc.constantFrom(...words))
    .map(([value, at, removed, word]) => {
      const text = JSON.stringify(value)
      const where = at % (text.length + 1)
      return text.slice(0, where) + word + text.slice(where + removed)
    })
  const texts = fc.sample(
    fc.oneof(
      broken,
      fc.json(),
      fc.array(fc.constantFrom(...words)).map(list => list.join('')),
    ),
    400,
  )
  await each(texts, async input => {
    let isObject = false
    try {
      const value: unknown = JSON.parse(input)
      isObject = typeof value === 'object' && value !== null && !Array.isArray(value)
    } catch {} // no JSON is no object either
    const { stdout } = await runPlugin(plugin, { input, env: { CNI_COMMAND: 'NONE' } })
    t.is(errorOf(stdout).code, isObject ? 4 : 6, JSON.stringify(input))
  })
})

test('the agent gets every byte of the configuration and of the variables, and no other variable', async t => {
  const { plugin, socket } = installedPlugin(t)
  const asked: Asked[] = []
  await anAgent(t, socket, (connection, request) => {
    asked.push(request)
    connection.end(httpAnswer(0, ''))
  })
  const all = Buffer.from([...Array(256).keys()].filter(byte => byte >= 0x20 && byte !== 0x22 && byte !== 0x5c))
  const odd = ['\u0000'.slice(1), 'é€😀', '\ufffd\uffff\u2028', '"\\\b\t\n\r\u0001\u007f', '=a=b=']
  const forms = ['f09f98', 'c0af', 'e080af', 'eda080', 'f08080af', 'f4908080', 'f8888080', 'ff', 'e282', 'c3'].map(
    hex => Buffer.from(hex, 'hex'),
  )
  for (const content of [all, ...forms, ...odd.map(text => Buffer.from(JSON.stringify(text).slice(1, -1)))]) {
    const input = Buffer.concat([Buffer.from(`{"agentSocket":"${socket}","x":"`), content, Buffer.from('"}\n')])
    const env = { ...ENV, CNI_ARGS: odd.join(';'), CNI_: '', SECRET: 'x', XCNI_A: 'x', 'CNI_"\\ä': '1' }
    const { code, stdout } = await runPlugin(plugin, { input, env })
    t.deepEqual([code, stdout.toString()], [0, ''])
    const { SECRET: _secret, XCNI_A: _other, ...sent } = env
    t.deepEqual(asked.pop(), { env: sent, stdin: input.toString('utf8') })
  }
})

test('every text that the agent answers is printed as it is meant, with every exit code', async t => {
  const { plugin, socket } = installedPlugin(t)
  let reply = ''
  await anAgent(t, socket, connection => connection.end(reply))
  const input = JSON.stringify({ agentSocket: socket })
  const escaped = (text: string) =>
    [...Array(text.length).keys()].map(i => `\\u${text.charCodeAt(i).toString(16).padStart(4, '0')}`).join('')
  const texts = fc.sample(fc.string({ unit: 'binary', minLength: 1 }), 20)
  for (const [i, text] of ['\ud800', '\udc00\ud800', 'a\ud83dz', '/"\\\b\f\n\r\t', ...texts].entries()) {
    for (const inside of [JSON.stringify(text).slice(1, -1), escaped(text)]) {
      const exitCode = (i * 37) % 256
      reply = `HTTP/1.0 200 OK\r\n\r\n  {"stdout":"old", "x":[{}], "stdout" : "${inside}","exitCode":${exitCode} }\n`
      const { code, stdout } = await runPlugin(plugin, { input })
      t.is(code, exitCode)
      t.deepEqual(stdout, Buffer.from(`${text}\n`))
    }
  }
})

test('what is no answer is code 11 with what the agent said', async t => {
  const { plugin, socket } = installedPlugin(t)
  let reply = ''
  await anAgent(t, socket, connection => connection.end(reply))
  const head = 'HTTP/1.1 200 OK\r\n\r\n'
  const codes = ['"0"', '1.0', '1e1', '-1', '-0', '256', '4294967296', 'null', 'true', '[]', '{}']
  for (const [text, why] of [
    ...codes.map(code => [`${head}{"exitCode":${code},"stdout":""}`, /it said no answer/] as const),
    ...['1', 'null', '[]', '{"a":[[]]}'].map(
      out => [`${head}{"exitCode":0,"stdout":${out}}`, /it said no answer/] as const,
    ),
    [`${head}{"exitCode":0}`, /it said no answer/],
    [`${head}[{"exitCode":0,"stdout":""}]`, /it said no answer/],
    [`${head}{"exitCode":0,"stdout":""}x`, /its answer was cut off/],
    [head, /its answer was cut off/],
    ['HTTP/1.1 413 Payload Too Large\r\nx: y\r\n\r\n', /: HTTP\/1\.1 413 Payload Too Large$/],
    ['HTTP/1.1 2000 OK\r\n\r\n{"exitCode":0,"stdout":""}', /: HTTP\/1\.1 2000 OK$/],
    ['HTTP/2.0 200 OK\r\n\r\n{"exitCode":0,"stdout":""}', /: HTTP\/2\.0 200 OK$/],
    ['"\\\u0001\u00e9\r\n\r\n', /: "\\.é$/],
    ['\r\n\r\n', /agent\.sock: $/],
    ['HTTP/1.1 200 OK\n\n{"exitCode":0,"stdout":""}', /it closed the connection/],
    [`${head}${' '.repeat(60)}`, /it works on the request without end/],
    [`${head}${' '.repeat(17 << 20)}{}`, /without end|too long/],
    [`HTTP/1.1 200 OK\r\n${'x: y\r\n'.repeat(3 << 20)}`, /its answer is too long/],
  ] as const) {
    reply = text
    const { code, stdout } = await runPlugin(plugin, { input: JSON.stringify({ agentSocket: socket }) })
    t.is(code, 1)
    t.is(errorOf(stdout).code, 11, text.slice(0, 80))
    t.regex(errorOf(stdout).msg, why)
  }
})

test('an agent that refuses a request before it has read it is quoted', async t => {
  const { plugin, socket } = installedPlugin(t)
  const server = createServer(connection => {
    connection.on('error', () => {})
    connection.write('HTTP/1.1 413 Payload Too Large\r\n\r\n')
    connection.destroySoon()
  }).listen(socket)
  t.teardown(() => server.close())
  const input = JSON.stringify({ agentSocket: socket, x: 'y'.repeat(3 << 20) })
  const { code, stdout } = await runPlugin(plugin, { input })
  t.is(code, 1)
  t.is(errorOf(stdout).code, 11)
  t.regex(errorOf(stdout).msg, /: HTTP\/1\.1 413 Payload Too Large$/)
})

test('4 MiB of configuration reach the agent, also when all of it is escaped, and one byte more is code 6', async t => {
  const { plugin, socket } = installedPlugin(t)
  await anAgent(t, socket, (connection, { stdin }) => connection.end(httpAnswer(0, `${stdin.length}`)))
  for (const fill of ['x', ' ', '\\\\']) {
    const start = `{"agentSocket":"${socket}","x":"`
    const room = MOST_INPUT - start.length - 2
    const input = `${start}${fill.repeat(Math.floor(room / fill.length))}"}`.padEnd(MOST_INPUT)
    const whole = await runPlugin(plugin, { input })
    t.deepEqual([whole.code, whole.stdout.toString()], [0, `${MOST_INPUT}\n`])
    const more = await runPlugin(plugin, { input: `${input} ` })
    t.is(more.code, 1)
    t.like(errorOf(more.stdout), { code: 6, msg: 'standard input has more than 4194304 bytes' })
  }
})

test('an answer of 8 MiB is printed to a reader that is slow', async t => {
  const { plugin, socket } = installedPlugin(t)
  const result = JSON.stringify({ x: 'é'.repeat(4 << 20) })
  await anAgent(t, socket, connection => connection.end(httpAnswer(0, result)))
  const { code, stdout } = await runPlugin(plugin, { input: JSON.stringify({ agentSocket: socket }) })
  t.is(code, 0)
  t.true(stdout.equals(Buffer.from(`${result}\n`)))
})

test('objects in objects are read to a depth of 10,000, as runtimes do', async t => {
  const { plugin } = installedPlugin(t)
  const nested = (depth: number) => `{"x":${'['.repeat(depth - 1)}${']'.repeat(depth - 1)}}`
  for (const [depth, code] of [
    [10_000, 4],
    [10_001, 6],
    [1_000_000, 6],
  ] as const) {
    const { stdout } = await runPlugin(plugin, { input: nested(depth), env: { CNI_COMMAND: 'NONE' } })
    t.is(errorOf(stdout).code, code)
  }
})

test('an error is JSON whatever the command, the version and the socket are', async t => {
  const { plugin } = installedPlugin(t)
  for (const odd of fc.sample(fc.string({ unit: 'binary', minLength: 1 }), 12)) {
    const CNI_COMMAND = odd.replaceAll('\u0000', '').toWellFormed()
    const unknown = await runPlugin(plugin, { input: '{}', env: { CNI_COMMAND } })
    t.is(errorOf(unknown.stdout).msg, `unknown CNI_COMMAND: ${CNI_COMMAND}`)
    const version = await runPlugin(plugin, { input: JSON.stringify({ cniVersion: odd, agentSocket: '/nowhere' }) })
    t.true(errorOf(version.stdout).details.startsWith(`config is "${odd}", plugin supports ["0.1.0",`))
    const echoed = await runPlugin(plugin, {
      input: JSON.stringify({ cniVersion: odd }),
      env: { CNI_COMMAND: 'VERSION' },
    })
    t.is(JSON.parse(echoed.stdout.toString()).cniVersion, odd)
    const socket = await runPlugin(plugin, { input: JSON.stringify({ agentSocket: [odd] }) })
    t.is(errorOf(socket.stdout).msg, `invalid value of agentSocket: ${JSON.stringify([odd])}`)
  }
})
