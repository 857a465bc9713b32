// The installed plugin while an agent starts again: what waits, for how long, and what the runtime is told.
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import test, { type ExecutionContext } from 'ava'
import { bootClock, ServedFile, servedPath } from '../../agent/served-file.ts'
import { ENV, type Ended, errorOf, httpAnswer, installedPlugin, runPlugin } from './run-plugin.ts'

const RESULT = '{"cniVersion":"1.1.0","ips":[]}'
/** As long as the plugin and the agent give a restart. */
const RESTART_MS = 70_000

test('the plugin and the agent give a restart the same time', t => {
  const sourceOf = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8')
  t.regex(sourceOf('cni/plugin.c'), new RegExp(`^#define RESTART_MS ${RESTART_MS}$`, 'm'))
  t.regex(sourceOf('agent/serving.ts'), /^const RESTART_MS = 70_000$/m)
})

function aNode(t: ExecutionContext) {
  const { plugin, socket } = installedPlugin(t)
  const clock = bootClock()
  const servers: Server[] = []
  t.teardown(() => servers.map(server => server.close()))
  return {
    run: (command: string): Promise<Ended> =>
      runPlugin(plugin, {
        env: { ...ENV, CNI_COMMAND: command },
        input: JSON.stringify({ cniVersion: '1.1.0', name: 'net', agentSocket: socket }),
      }),
    /** An agent served pods so long ago. */
    served: (agoMs: number, bootId = clock.bootId) =>
      new ServedFile(servedPath(socket), { bootId, nowMs: () => clock.nowMs() - Math.round(agoMs) }).touch(0),
    says: (text: string) => writeFileSync(servedPath(socket), text),
    bootId: clock.bootId,
    /** Listens; with another one before it takes its place. */
    agent: (answer: (connection: Socket) => void) => {
      rmSync(socket, { force: true })
      const server = createServer(connection => {
        connection.on('error', () => {})
        connection.once('data', () => answer(connection))
      })
      servers.push(server.listen(socket))
    },
  }
}

const answers = (connection: Socket) => void connection.end(httpAnswer(0, RESULT))

test('STATUS is fine for 70 s after pods were last served in this boot, and by nothing else that is written there', async t => {
  const { run, served, says, bootId } = aNode(t)
  t.is(errorOf((await run('STATUS')).stdout).code, 50, 'never served')
  for (const agoMs of [0, 30_000, RESTART_MS - 5000]) {
    served(agoMs)
    const { code, stdout } = await run('STATUS')
    t.deepEqual([code, stdout.toString()], [0, ''])
  }
  served(RESTART_MS)
  t.is(errorOf((await run('STATUS')).stdout).code, 50, 'too long ago')
  served(-60_000)
  t.is(errorOf((await run('STATUS')).stdout).code, 50, 'in a time to come')
  served(0, '00000000-1111-2222-3333-444444444444')
  t.is(errorOf((await run('STATUS')).stdout).code, 50, 'in another boot')
  for (const text of [
    '',
    bootId,
    `${bootId} \n`,
    `${bootId} x\n`,
    `${bootId} 5`,
    `${bootId} ${'9'.repeat(40)}\n`,
    '\0'.repeat(99),
  ]) {
    says(text)
    t.is(errorOf((await run('STATUS')).stdout).code, 50, JSON.stringify(text))
  }
})

test('what an agent answers counts, whenever pods were last served', async t => {
  const { run, served, agent } = aNode(t)
  served(0)
  agent(connection => connection.end(httpAnswer(1, '{"cniVersion":"1.1.0","code":50,"msg":"no","details":""}')))
  t.is(errorOf((await run('STATUS')).stdout).code, 50)
  agent(answers)
  t.is((await run('ADD')).stdout.toString(), `${RESULT}\n`)
})

test('ADD and DEL wait for an agent that starts again, and are asked once more when it is killed in their middle', async t => {
  const { run, served, agent } = aNode(t)
  served(1000)
  const running = [run('ADD'), run('DEL')]
  await new Promise(resolve => setTimeout(resolve, 250))
  let asked = 0
  agent(connection => {
    asked++
    connection.write('HTTP/1.1 200 OK\r\n\r\n ')
    setTimeout(() => connection.destroy(), 20) // killed: the head and a sign of life were there
    if (asked === 2) agent(answers)
  })
  for (const { code, stdout } of await Promise.all(running)) t.deepEqual([code, stdout.toString()], [0, `${RESULT}\n`])
  t.true(asked >= 2)
})

test('they wait no longer than a restart may take, and say whether something may have been done', async t => {
  const { run, served, agent } = aNode(t)
  served(RESTART_MS - 400)
  const startMs = performance.now()
  const [add, del] = await Promise.all([run('ADD'), run('DEL')])
  const waitedMs = performance.now() - startMs
  t.true(waitedMs < 10_000, `${waitedMs} ms`)
  for (const { stdout } of [add, del]) {
    t.is(errorOf(stdout).code, 11)
    t.regex(errorOf(stdout).details, /Nothing was changed/)
  }
  served(RESTART_MS - 400)
  agent(connection => connection.end('HTTP/1.1 200 OK\r\n\r\n '))
  t.regex(errorOf((await run('ADD')).stdout).details, /may have carried out the request/)
})

test('without an agent that served pods, and for CHECK and GC, nothing waits', async t => {
  const { run, served } = aNode(t)
  const soon = async (...commands: string[]) => {
    const startMs = performance.now()
    for (const { stdout } of await Promise.all(commands.map(run))) t.is(errorOf(stdout).code, 11)
    t.true(performance.now() - startMs < RESTART_MS / 2)
  }
  await soon('ADD', 'DEL', 'CHECK', 'GC')
  served(0)
  await soon('CHECK', 'GC')
})
