// `node drain-bgp` from any machine: the Node and what its agent says are played here, with a clock that stands still.
import test from 'ava'
import type { DrainAnswer } from '../../api/answers.ts'
import type { Context, Options } from '../../ctl/command.ts'
import { drainNode } from '../../ctl/drain.ts'
import { Denied } from '../../ctl/failure.ts'
import type { PodExec } from '../../datastore/exec.ts'
import { ManualClock } from '../../lib/clock.ts'

const answer = (drains: boolean, told: DrainAnswer['peers'][number]['told'] = 'yes'): DrainAnswer => ({
  drains,
  peers: [{ name: 'Mesh_192_0_2_12', address: '192.0.2.12', told }],
  alone: ['10.244.0.0/26'],
})

/** A cluster of one node, whose agent gives these answers one after the other, the last one again and again; an Error is one that cannot be asked. */
function cluster(...answers: readonly (DrainAnswer | Error)[]) {
  const clock = new ManualClock()
  const patches: unknown[] = []
  const asked: (readonly string[])[] = []
  let out = ''
  const exec: PodExec = async ({ command }, take) => {
    const next = answers[Math.min(asked.length, answers.length - 1)]!
    asked.push(command.slice(2))
    if (next instanceof Error) throw next
    take('out', Buffer.from(`${JSON.stringify(next, null, 2)}\n`))
    return { ended: Promise.resolve(undefined), close: () => undefined }
  }
  const owner = { kind: 'DaemonSet', name: 'margay-node', controller: true }
  const pod = {
    metadata: { name: 'agent', ownerReferences: [owner] },
    spec: { nodeName: 'n1' },
    status: { conditions: [{ type: 'Ready', status: 'True' }] },
  }
  const server = {
    read: async () => ({ items: [pod] }),
    patch: async (...words: unknown[]) => {
      patches.push(words)
    },
  }
  const context = {
    ...{ objects: async () => server, exec: async () => exec },
    out: (text: string) => {
      out += text
    },
  } as unknown as Context
  const run = async (options: Options = {}) => {
    const all = { output: 'table', timeout: '10', margayNamespace: 'kube-system', ...options }
    let isOver = false
    const ended = drainNode(['n1'], all, context, clock).finally(() => {
      isOver = true
    })
    ended.catch(() => undefined)
    while (!isOver) {
      clock.advance(100)
      await new Promise(resolve => setImmediate(resolve))
    }
    return ended
  }
  return { run, patches, asked, out: () => out }
}

test('the Node gets the annotation, and the command ends once its agent says that all peers know', async t => {
  const it = cluster(answer(false), answer(true))
  t.is(await it.run(), 0)
  t.deepEqual(it.patches, [['Node', 'n1', { metadata: { annotations: { 'margay.io/DrainBGP': 'true' } } }, 'merge']])
  t.deepEqual(it.asked, Array(2).fill(['bgp', 'drain', '--output', 'json']))
  t.regex(it.out(), /^node n1 drains.*\n\nPEER +ADDRESS +WHAT IT KNOWS\nMesh_192_0_2_12 +192\.0\.2\.12 +knows\n/)
  t.regex(it.out(), /nobody else who announces.*\n {2}10\.244\.0\.0\/26\n$/)
})

test('with --undo the annotation goes, and nothing is said of what only this node announces', async t => {
  const it = cluster(answer(false))
  t.is(await it.run({ undo: true }), 0)
  t.deepEqual(it.patches, [['Node', 'n1', { metadata: { annotations: { 'margay.io/DrainBGP': null } } }, 'merge']])
  t.regex(it.out(), /^node n1 does not drain/)
  t.notRegex(it.out(), /10\.244/)
})

test('a peer that may not know makes the exit code 1; one that cannot say so does not', async t => {
  t.is(await cluster(answer(true, 'no')).run(), 1)
  t.is(await cluster(answer(true, 'sent')).run({ output: 'json' }), 0)
})

test('an agent that cannot be asked, or does not know of it in time, is told with what counts all the same', async t => {
  for (const [said, why] of [
    [new Error('no route to host'), /n1 did not answer in 10 s: no route to host; the annotation .* is set/],
    [answer(false), /it does not know of it yet/],
  ] as const) {
    const error = await t.throwsAsync(cluster(said).run(), { instanceOf: Denied })
    t.regex(error.message, why)
  }
})

test('an answer that is none is told', async t => {
  const it = cluster({ drains: 'yes' } as unknown as DrainAnswer)
  const error = await t.throwsAsync(it.run(), { instanceOf: Denied })
  t.regex(error.message, /its answer cannot be read/)
})
