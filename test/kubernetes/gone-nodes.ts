// Nodes that go: dead and deleted, only cut off, renamed. What they held is freed by margay-controllers after its rules, and
// never before.
import assert from 'node:assert/strict'
import { patchWords } from '../../lab/kubernetes/objects.ts'
import { runningPods } from '../../lab/kubernetes/pods.ts'
import { until } from '../../lab/program.ts'
import type { Case, Cluster } from './case.ts'
import { allReach, blocksOf, eventually, healthy, rolledOut, seconds, withPods } from './observe.ts'

/** In place of two minutes. */
const GRACE_SECONDS = 5
const ANSWER_SECONDS = 10
/** Until a block is freed, from its Node's end: a look at all blocks at most every ten seconds, both times, and a look again. */
const FREED_SECONDS = 90

export const goneNodeCases: readonly Case[] = [
  {
    title: 'a node that is only cut off keeps its blocks, and its pods are reached again when it is back',
    short: false,
    async run(cluster) {
      const { lab } = cluster
      const cable = (state: 'up' | 'down') => lab.inNetns(lab.plan.router.netns, ['ip', 'link', 'set', 'n2', state])
      return await withShortTimes(cluster, () =>
        withPods(cluster, 'cut-off', 3, async pods => {
          const before = await blocksOf(cluster, 'n2')
          assert.ok(before.length > 0)
          await cable('down')
          try {
            await seconds(GRACE_SECONDS + ANSWER_SECONDS + 30)
            assert.deepEqual(await blocksOf(cluster, 'n2'), before)
          } finally {
            await cable('up')
          }
          await healthy(cluster)
          assert.deepEqual(await blocksOf(cluster, 'n2'), before)
          await eventually(() => allReach(pods))
          return before.join(' ')
        }),
      )
    },
  },
  {
    title: 'a dead node keeps its blocks while its Node object is there; they are freed after the object is deleted',
    short: false,
    async run(cluster) {
      const { lab } = cluster
      return await withShortTimes(cluster, async () => {
        try {
          return await withPods(
            cluster,
            'dying',
            3,
            async () => {
              const held = await blocksOf(cluster, 'n2')
              assert.ok(held.length > 0)
              await lab.machine('n2').powerOff()
              await seconds(GRACE_SECONDS + ANSWER_SECONDS + 15)
              assert.deepEqual(await blocksOf(cluster, 'n2'), held, 'freed while the Node object was there')
              await lab.must(['delete', 'node/n2'])
              const startedMs = performance.now()
              await seconds(GRACE_SECONDS)
              assert.deepEqual(await blocksOf(cluster, 'n2'), held, 'freed before the owner could answer')
              const freed = async () => (await blocksOf(cluster, 'n2')).length === 0
              assert.ok(await until(freed, FREED_SECONDS * 1000, 1000), 'its blocks stay')
              return `${held.join(' ')} freed ${((performance.now() - startedMs) / 1000).toFixed(0)} s after its Node`
            },
            { node: 'n2' },
          )
        } finally {
          await lab.reboot('n2')
          await lab.reached('n2 to register', 60, async () => (await lab.get('node/n2')) !== undefined)
          await cluster.margay.agentAnswers('n2')
          await healthy(cluster)
        }
      })
    },
  },
  {
    title:
      'a renamed node serves pods once its journal is removed, as its agent says; the blocks of its old name are freed',
    short: false,
    async run(cluster) {
      const { lab } = cluster
      return await withShortTimes(cluster, () =>
        withPods(cluster, 'staying', 3, async pods => {
          const others = pods.filter(({ node }) => node !== 'n2')
          const blocks = await blocksOf(cluster, 'n2')
          let said: string
          try {
            await rename(cluster, 'n2', 'n2-new')
            said = await withPods(
              cluster,
              'renamed',
              3,
              async renamed => {
                const all = [...others, ...renamed]
                assert.equal(new Set(all.map(({ address }) => address)).size, all.length)
                await allReach(all)
                const freed = async () => (await blocksOf(cluster, 'n2')).length === 0
                assert.ok(await until(freed, FREED_SECONDS * 1000, 1000), 'the blocks of the old name stay')
                await allReach(all)
                return `${blocks.join(' ')} freed; ${(await blocksOf(cluster, 'n2-new')).join(' ')} of the new name`
              },
              { node: 'n2-new' },
            )
          } finally {
            await rename(cluster, 'n2-new', 'n2')
            await healthy(cluster)
          }
          await rolledOut(lab, 'staying')
          await allReach(await runningPods(lab, 'staying'))
          return said
        }),
      )
    },
  },
]

/** With controllers that wait seconds where they wait minutes. */
async function withShortTimes<T>(cluster: Cluster, work: () => Promise<T>): Promise<T> {
  const { lab, margay } = cluster
  const grace = (leakGracePeriod: string | null) => {
    const spec = { controllers: { node: { leakGracePeriod } } }
    return lab.must(patchWords('kubecontrollersconfiguration/default', { spec }))
  }
  await grace(`${GRACE_SECONDS}s`)
  await margay.setControllers(['--owner-answer', String(ANSWER_SECONDS)])
  try {
    return await work()
  } finally {
    await margay.setControllers([])
    await grace(null)
  }
}

/** n2 gets another name, and loses its journal when the agent has said that it is of the old one. */
async function rename({ lab, margay }: Cluster, from: string, to: string): Promise<void> {
  await lab.rename('n2', to)
  const refused = `belongs to node ${from}, and this is ${to}`
  let said = ''
  const told = async () => {
    said = await margay.log(to).catch((error: Error) => error.message)
    return said.includes(refused)
  }
  assert.ok(await until(told, 60_000, 1000), `the agent says ${said}`)
  await lab.machine('n2').run(['rm', '-rf', '/var/lib/margay'])
  await margay.restart(to)
  await margay.agentAnswers('n2')
}
