// `events`: of this node over a real socket with a real recorder, and of several nodes whose programs are played.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { Recorder } from '../../agent/recorder/recorder.ts'
import { agentRoutes } from '../../agent/socket/routes.ts'
import { serveSocket } from '../../agent/socket/server.ts'
import { clusterEvents } from '../../ctl/cluster-events.ts'
import { ManualClock } from '../../lib/clock.ts'
import { silentLog } from '../../lib/log.ts'
import { aPod, line, cluster as played, settled } from './played-cluster.ts'
import { beginHere, runHere } from './run.ts'

async function aNode(t: ExecutionContext) {
  const dir = mkdtempSync(join(tmpdir(), 'margay-events-'))
  // events an hour, a minute and no time ago, by the clock of margayctl
  const clock = new ManualClock(Date.now() - 3_600_000)
  const recorder = new Recorder({ nodeName: 'n1', folder: join(dir, 'recorder'), clock, log: silentLog })
  const path = join(dir, 'agent.sock')
  const routes = agentRoutes({ events: recorder } as unknown as Parameters<typeof agentRoutes>[0])
  const server = await serveSocket(path, routes, silentLog)
  t.teardown(async () => {
    await server.close(0)
    recorder.close()
    rmSync(dir, { recursive: true, force: true })
  })
  const socket = ['--socket', path]
  const names = async (...words: string[]) => {
    const { code, out, err } = await runHere(['events', '-o', 'json', ...words, ...socket])
    return code === 0
      ? (JSON.parse(out).events as { type: string; object: { name: string } }[]).map(
          ({ type, object }) => `${type} ${object.name}`,
        )
      : err
  }
  const healed = (name: string) =>
    recorder.record({ type: 'Healed', object: { kind: 'Route', name }, reason: 'ChangedByOther', message: 'put back' })
  const came = (name: string, kind: 'Route' | 'Link' = 'Route') =>
    recorder.note('Came', kind, 'foreign', () => ({ name, text: 'by ip (process 812)' }))
  return { recorder, clock, names, healed, came, socket }
}

test('without options events are the last hundred of what an operator should know, with time or object every change', async t => {
  const { clock, names, healed, came, socket } = await aNode(t)
  healed('10.0.0.0/26')
  came('10.0.0.0/26')
  clock.advance(3_540_000)
  came('eth1', 'Link')
  healed('10.0.1.0/26')
  came('10.0.0.0/26')
  t.deepEqual(await names(), ['Healed 10.0.0.0/26', 'Healed 10.0.1.0/26'])
  t.deepEqual(await names('--count', '1'), ['Healed 10.0.1.0/26'])
  t.deepEqual(await names('--since', '10m'), ['Came eth1', 'Healed 10.0.1.0/26', 'Came 10.0.0.0/26'])
  t.deepEqual(await names('--since', '10m', '--count', '1'), ['Came 10.0.0.0/26'])
  t.deepEqual(await names('--object', 'Route/10.0.0.0/26'), [
    'Healed 10.0.0.0/26',
    'Came 10.0.0.0/26',
    'Came 10.0.0.0/26',
  ])
  t.deepEqual(await names('--object', 'Route/10.0.0.0/26', '--since', new Date(Date.now() - 600_000).toISOString()), [
    'Came 10.0.0.0/26',
  ])
  const { out } = await runHere(['events', '--object', 'Link/eth1', ...socket])
  t.regex(out, /^TIME +TYPE +OBJECT +REASON +MESSAGE\n20\S+Z +Came +Link eth1 +foreign +by ip \(process 812\)\n$/)
})

test('a time, an object or a count that is none is told with what to write', async t => {
  const { names } = await aNode(t)
  for (const [option, value, said] of [
    ['--since', 'yesterday', 'write a time before now like 90s, 10m, 2h or 3d, or one like 2026-11-27T12:03:00Z'],
    ['--since', '10', 'write a time before now'],
    ['--object', 'Route', 'write KIND/NAME, like Route/10.244.1.0/26'],
    ['--count', '0', 'give a whole number from 1 to 10000'],
  ] as const)
    t.true(String(await names(option, value)).includes(said), `${option} ${value}`)
})

test('--follow prints what comes, and with --since what was before, until it is interrupted', async t => {
  const { recorder, clock, healed, came, socket } = await aNode(t)
  came('10.0.0.0/26')
  clock.advance(3_590_000)
  healed('10.0.1.0/26')
  const running = beginHere(['events', '--follow', '--since', '5m', ...socket])
  const at = new Date(clock.wallMs()).toISOString()
  const first = `${at}  Healed  Route 10.0.1.0/26  ChangedByOther  put back\n`
  await running.printed(first)
  came('10.0.2.0/26')
  await running.printed(`${first}${at}  Came  Route 10.0.2.0/26  foreign  by ip (process 812)\n`)
  running.interrupt()
  t.like(await running.ended, { code: 0, err: '' })
  recorder.flush()
})

test('what another machine asks for is lines of JSON, and a follower ends with its standard input', async t => {
  const { healed, came, socket } = await aNode(t)
  healed('10.0.0.0/26')
  came('10.0.0.0/26')
  const { out } = await runHere(['__events', '--object=Route/10.0.0.0/26', ...socket])
  t.deepEqual(
    out
      .split('\n')
      .slice(0, -1)
      .map(each => JSON.parse(each).record.seq),
    [1, 2],
  )
  t.is((await runHere(['__events', ...socket])).out.split('\n').length, 2)
  const running = beginHere(['__events', '--follow', ...socket])
  await running.printed('{"reached":2}\n')
  running.endInput()
  t.is((await running.ended).code, 0)
})

const at = (second: number) => new Date(second * 1000).toISOString()
const record = (seq: number, second: number, name = `${seq}`) => ({
  record: { seq, at: at(second), type: 'Came', object: { kind: 'Route', name }, reason: 'learned', message: 'm' },
})
const cluster = (pods: object[], program: Parameters<typeof played>[2]) => played(clusterEvents, pods, program)
const shown = (out: string) =>
  (JSON.parse(out).events as { node: string; seq: number }[]).map(({ node, seq }) => `${node} ${seq}`)

test('the events of three nodes are one list by time with their nodes; a clock that was set back moves nothing within its node', async t => {
  const told: Record<string, ReturnType<typeof record>[]> = {
    'agent-a': [record(1, 10), record(2, 40)],
    'agent-b': [record(7, 20), record(8, 5), record(9, 30)],
    'agent-c': [record(3, 25)],
  }
  const it = cluster([aPod('b'), aPod('a'), aPod('c')], (there, { pod }) => {
    for (const each of told[pod]!) there.write(line(each))
    there.end()
  })
  t.is(await it.run({ since: '10m', object: 'Route/x' }), 0)
  t.deepEqual(shown(it.said.out), ['a 1', 'b 7', 'b 8', 'c 3', 'b 9', 'a 2'])
  t.deepEqual(it.asked[0]!.command.slice(2), ['__events', '--since=10m', '--object=Route/x'])
})

test('a node that says nothing is named, the others are shown, and the exit code is 1', async t => {
  const it = cluster([aPod('a'), aPod('b'), aPod('c', { ready: false })], (there, { pod }) => {
    if (pod === 'agent-b') return
    there.write(line(record(1, 10)))
    there.end()
  })
  const running = it.run({ output: 'table' })
  await settled()
  it.clock.advance(10_000)
  t.is(await running, 1)
  t.regex(it.said.out, /^NODE +TIME[^\n]+\na +1970-01-01T00:00:10.000Z +Came +Route 1 +learned +m\n$/)
  t.is(it.said.err, 'node c is not asked: its pod agent-c is not ready\nnode b is not asked: no answer in 10 s\n')
})

test('nodes that are followed from a time on are printed by time once each has told what was before, then as it comes', async t => {
  const there: Record<string, { write(text: string): void; end(why?: string): void }> = {}
  const it = cluster([aPod('a'), aPod('b'), aPod('c')], (program, { pod }) => {
    there[pod] = program
  })
  const running = it.run({ follow: true, since: '10m' })
  await settled()
  there['agent-a']!.write(line(record(1, 30)) + line({ reached: 1 }) + line(record(2, 31)))
  there['agent-b']!.write(line(record(5, 20)))
  await settled()
  t.is(it.said.out, '')
  there['agent-b']!.write(line({ reached: 5 }))
  there['agent-c']!.end('it is gone')
  await settled()
  const printed = () =>
    it.said.out
      .split('\n')
      .slice(0, -1)
      .map(each => `${JSON.parse(each).node} ${JSON.parse(each).seq}`)
  t.deepEqual(printed(), ['b 5', 'a 1', 'a 2'])
  t.is(it.said.err, 'node c is not followed: it is gone\n')
  there['agent-b']!.write(line(record(6, 25)) + line({ lost: 3 }))
  await settled()
  t.deepEqual(printed(), ['b 5', 'a 1', 'a 2', 'b 6'])
  t.regex(it.said.err, /b: 3 events are told nowhere/)
  it.interrupt()
  t.is(await running, 1)
})

test('a node that never ends telling what was before holds the others no longer than --timeout', async t => {
  const it = cluster([aPod('a'), aPod('b')], (program, { pod }) => {
    program.write(line(record(1, 30)))
    if (pod === 'agent-a') program.write(line({ reached: 1 }))
  })
  const running = it.run({ follow: true, since: '10m', timeout: '5' })
  await settled()
  t.is(it.said.out, '')
  it.clock.advance(5000)
  t.is(it.said.out.split('\n').length, 3)
  it.interrupt()
  t.is(await running, 0)
})
