// `node diags` over a real socket, with secrets planted in what the agent says, and `cluster diags` of nodes whose programs are played.
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import test, { type ExecutionContext } from 'ava'
import { kernelState } from '../../agent/kernel-state.ts'
import { Recorder } from '../../agent/recorder/recorder.ts'
import { agentRoutes } from '../../agent/socket/routes.ts'
import { serveSocket } from '../../agent/socket/server.ts'
import { clusterCommands } from '../../ctl/diags.ts'
import { nodeMarks } from '../../felix/marks.ts'
import { RuleCounts } from '../../felix/rule-counts.ts'
import { FakeWorld } from '../../kernel/fake/world.ts'
import { ManualClock } from '../../lib/clock.ts'
import { silentLog } from '../../lib/log.ts'
import { systemProgram } from '../../lib/system-program.ts'
import { someNumbers } from '../agent/status/numbers.ts'
import { aPod, cluster, line } from './played-cluster.ts'
import { runHere } from './run.ts'

const SECRET = 'hunter2-planted'

function aFolder(t: ExecutionContext): string {
  const dir = mkdtempSync(join(tmpdir(), 'margay-node-diags-'))
  t.teardown(() => rmSync(dir, { recursive: true, force: true }))
  return dir
}

async function aNode(t: ExecutionContext, dir: string) {
  const recorder = new Recorder({
    ...{ nodeName: 'n1', folder: join(dir, 'recorder'), clock: new ManualClock(0), log: silentLog },
  })
  const status = {
    ...{ node: 'n1', ready: true, conditions: [], peers: [], password: SECRET },
    endpoints: [{ id: 'x', interface: 'cali1', addresses: [], token: SECRET }],
  }
  const agent = {
    ...{ events: recorder, numbers: someNumbers, status: () => status },
    droppedPackets: async () => new Map(),
    ruleCounts: async () => new RuleCounts(),
    levels: { levels: () => [{ room: 'bgp', level: 'info', from: 'option' }] },
    kernelState: () => kernelState(new FakeWorld().kernel(), nodeMarks({ routeProtocol: 80, interfacePrefix: 'cali' })),
  }
  const path = join(dir, 'agent.sock')
  const server = await serveSocket(path, agentRoutes(agent as unknown as Parameters<typeof agentRoutes>[0]), silentLog)
  t.teardown(async () => {
    await server.close(0)
    recorder.close()
  })
  return { recorder, socket: ['--socket', path] }
}

test('the archive of a node has what its agent, its recorder and its kernel say, and not one of the planted secrets', async t => {
  const dir = aFolder(t)
  const { recorder, socket } = await aNode(t, dir)
  const object = { kind: 'Route', name: '10.0.0.0/26' } as const
  recorder.record({ type: 'Healed', object, reason: 'r', message: `login https://u:${SECRET}@host/ failed` })
  recorder.note('Came', 'Route', 'foreign', () => ({ name: '10.0.1.0/26', text: 'by ip (process 812)' }))
  const file = join(dir, 'd.tar.gz')
  const { code, out } = await runHere(['node', 'diags', '--file', file, ...socket])
  t.is(code, 0, out)
  t.deepEqual(
    gunzipSync(readFileSync(file))
      .toString()
      .split('\n')
      .filter(each => each.includes(SECRET)),
    [],
  )
  execFileSync(systemProgram('tar'), ['xzf', file, '-C', dir])
  const folder = join(dir, 'margay-node-diags')
  const text = (path: string): string => readFileSync(join(folder, path), 'utf8')
  t.is(JSON.parse(text('status.json')).node, 'n1')
  t.is(JSON.parse(text('events.json'))[0].type, 'Healed')
  const records = text('recorder.jsonl').split('\n').slice(0, -1)
  t.deepEqual(
    records.map(each => JSON.parse(each).type),
    ['Healed', 'Came'],
  )
  t.regex(text('metrics.txt'), /margay_/)
  t.is(JSON.parse(text('log-levels.json'))[0].room, 'bgp')
  t.true(
    text('kernel/links.jsonl')
      .split('\n')
      .slice(0, -1)
      .every(each => JSON.parse(each).of === 'links'),
  )
  t.is(readdirSync(join(folder, 'kernel')).length, 8)
  t.is(
    (await runHere(['node', 'diags', '--file', file, ...socket])).code,
    2,
    'a file that is there is not written over',
  )
})

test('of a long recorder the archive has the last 4 MiB', async t => {
  const dir = aFolder(t)
  const { recorder, socket } = await aNode(t, dir)
  const message = 'x'.repeat(1900)
  for (let i = 0; i < 4000; i++)
    recorder.record({ type: 'Healed', object: { kind: 'Link', name: `${i}` }, reason: 'r', message })
  const file = join(dir, 'd.tar.gz')
  t.is((await runHere(['node', 'diags', '--file', file, ...socket])).code, 0)
  execFileSync(systemProgram('tar'), ['xzf', file, '-C', dir])
  const text = readFileSync(join(dir, 'margay-node-diags/recorder.jsonl'), 'utf8')
  t.true(text.length > (4 << 20) - 3000 && text.length <= 4 << 20, `${text.length}`)
  const records = text
    .split('\n')
    .slice(0, -1)
    .map(each => JSON.parse(each).object.name)
  t.is(records.at(-1), '3999')
})

test('a node without an agent still leaves an archive that says so, with exit code 3', async t => {
  const dir = aFolder(t)
  const { code, out } = await runHere(['node', 'diags', '--file', join(dir, 'd.tar.gz'), '--socket', join(dir, 'none')])
  t.is(code, 3)
  t.regex(out, /status\.json: there is no socket[\s\S]*kernel: there is no socket/)
})

test('the archive of a cluster has the files of each node that may be asked, names the others, and takes no file of another name', async t => {
  const dir = aFolder(t)
  const file = join(dir, 'd.tar.gz')
  const [diags] = clusterCommands
  const it = cluster(
    (names, options, context) =>
      diags!.run(names, { ...options, file, tail: '10', namespace: 'kube-system', socket: join(dir, 'none') }, context),
    [aPod('n1'), aPod('n2'), aPod('n3', { ready: false })],
    (there, { pod }) => {
      if (pod === 'agent-n2') throw new Error('the API server refuses (403)')
      there.write(line({ path: 'status.json', piece: '{"node":' }) + line({ path: 'status.json', piece: '"n1"}' }))
      there.write(line({ path: '../../etc/passwd', piece: 'x' }) + line({ path: 'metrics.txt', fault: 'no answer' }))
      there.end()
    },
  )
  await it.run()
  t.deepEqual(it.asked[0]!.command.slice(2), ['__node-diags'])
  execFileSync(systemProgram('tar'), ['xzf', file, '-C', dir])
  t.is(readFileSync(join(dir, 'margay-diags/nodes/n1/status.json'), 'utf8'), '{"node":"n1"}')
  t.deepEqual(readdirSync(join(dir, 'margay-diags/nodes'), { recursive: true }).toSorted(), ['n1', 'n1/status.json'])
  const summary = readFileSync(join(dir, 'margay-diags/summary.txt'), 'utf8')
  t.regex(summary, /nodes\/n1\/metrics\.txt: no answer\n/)
  t.regex(summary, /nodes\/n2: the API server refuses \(403\)\n/)
  t.regex(summary, /nodes\/n3: its pod agent-n3 is not ready\n/)
})
