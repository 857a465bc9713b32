// The installed plugin by itself: what it says when the agent is away, stopped, slow, or ends in the middle.
import { execFile } from 'node:child_process'
import { createServer, type Socket } from 'node:net'
import test, { type ExecutionContext } from 'ava'
import { CniError } from '../../cni/error.ts'
import { parseRequest } from '../../cni/request.ts'
import { installedPlugin } from './run-plugin.ts'

type Answer = { exitCode: number; json: { code?: number; msg?: string; details?: string; cniVersion?: string } }

const ENV = { CNI_CONTAINERID: 'c1', CNI_NETNS: '/run/netns/x', CNI_IFNAME: 'eth0', CNI_PATH: '/opt/cni/bin' }

/** A plugin; `agent` is called with every connection of it. Without one nobody listens. */
function aPlugin(t: ExecutionContext, agent?: (socket: Socket) => void) {
  const { plugin, socket } = installedPlugin(t)
  const server = agent === undefined ? undefined : createServer(agent).listen(socket)
  t.teardown(() => server?.close())
  return (env: Record<string, string | undefined>, conf: object = {}): Promise<Answer> =>
    new Promise(resolve => {
      const child = execFile(plugin, { env: { ...ENV, ...env } }, (error, stdout) =>
        resolve({ exitCode: Number(error?.code ?? 0), json: stdout === '' ? {} : JSON.parse(stdout) }),
      )
      child.stdin?.end(JSON.stringify({ cniVersion: '1.1.0', name: 'net', agentSocket: socket, ...conf }))
    })
}

/** What the agent would say of the same request. */
function refusal(env: Record<string, string | undefined>, conf: object): { code: number; msg: string } | undefined {
  const given = Object.entries({ ...ENV, ...env }).flatMap(([name, value]) =>
    value === undefined ? [] : [[name, value]],
  )
  try {
    parseRequest({
      env: Object.fromEntries(given),
      stdin: JSON.stringify({
        cniVersion: '1.1.0',
        name: 'net',
        'cni.dev/valid-attachments': [],
        prevResult: {},
        ...conf,
      }),
    })
    return undefined
  } catch (error) {
    return error instanceof CniError ? { code: error.code, msg: error.message } : undefined
  }
}

test('with the agent away, faults of environment and version have the codes and words that the agent gives them', async t => {
  const run = aPlugin(t)
  const verbs = ['ADD', 'DEL', 'CHECK', 'GC', 'STATUS', 'NO_SUCH']
  const cases = verbs.flatMap(CNI_COMMAND => [
    ...[{}, { CNI_CONTAINERID: undefined }, { CNI_NETNS: '' }, { CNI_IFNAME: undefined }, { CNI_PATH: undefined }].map(
      env => ({ env: { CNI_COMMAND, ...env }, conf: {} }),
    ),
    ...['0.3.1', '0.4.0', '9.9.9', '', null, 7].map(cniVersion => ({ env: { CNI_COMMAND }, conf: { cniVersion } })),
  ])
  await Promise.all(
    cases.map(async ({ env, conf }) => {
      const { exitCode, json } = await run(env, conf)
      const expected = refusal(env, conf) ?? { code: env.CNI_COMMAND === 'STATUS' ? 50 : 11 }
      t.is(exitCode, 1)
      t.like(json, expected, JSON.stringify({ env, conf }))
    }),
  )
})

test('with the agent away a DEL is an error with code 11, so that the runtime calls it again, and nothing was changed', async t => {
  const { exitCode, json } = await aPlugin(t)({ CNI_COMMAND: 'DEL' })
  t.is(exitCode, 1)
  t.is(json.code, 11)
  t.regex(json.details ?? '', /Nothing was changed; the runtime tries again/)
})

test('an agent that ends in the middle of a request: the plugin does not say that nothing was changed', async t => {
  const run = aPlugin(t, socket => socket.once('data', () => socket.end('HTTP/1.1 200 OK\r\n\r\n  ')))
  const { json } = await run({ CNI_COMMAND: 'ADD' })
  t.is(json.code, 11)
  t.regex(
    json.details ?? '',
    /may have carried out the request in part or in full: .* DEL, which removes whatever is there/,
  )
  t.notRegex(json.details ?? '', /[Nn]othing/)
})

test('a stopped agent is given up after ten seconds without a word, and one that shows signs of life is waited for', async t => {
  const startMs = performance.now()
  const stopped = aPlugin(t, () => undefined)({ CNI_COMMAND: 'ADD' })
  const slow = aPlugin(t, socket => {
    socket.write('HTTP/1.1 200 OK\r\n\r\n')
    const beat = setInterval(() => socket.write(' '), 2000)
    setTimeout(() => {
      clearInterval(beat)
      socket.end(JSON.stringify({ exitCode: 0, stdout: '{"cniVersion":"1.1.0"}' }))
    }, 11_000)
  })({ CNI_COMMAND: 'ADD' })
  const given = await stopped
  t.true(performance.now() - startMs < 15_000)
  t.is(given.json.code, 11)
  t.regex(given.json.msg ?? '', /not a word within 10 s/)
  t.is((await slow).exitCode, 0)
})
