// The agent's own misfortunes: killed, rolled, away, without its data. Pods keep their network through all of them.
import assert from 'node:assert/strict'
import { deployment } from '../../lab/kubernetes/objects.ts'
import { runningPods } from '../../lab/kubernetes/pods.ts'
import { until } from '../../lab/program.ts'
import type { Case, Cluster } from './case.ts'
import { allReach, isReady, pairsOfNodes, pingWhile, removeApp, rolledOut, seconds, withPods } from './observe.ts'

const nodeNames = ({ lab }: Cluster) => lab.plan.nodes.map(({ name }) => name)

/** A kubelet that hears of it takes its node for not ready after 15 s. */
const AWAY_SECONDS = 30

export const agentCases: readonly Case[] = [
  {
    title: 'a rolled agent of every node costs no ping between running pods',
    short: true,
    async run(cluster) {
      return await withPods(cluster, 'rolling', 3, async pods => {
        const pings = await pingWhile(pairsOfNodes(pods), async () => {
          await cluster.margay.roll()
          await seconds(2)
        })
        assert.deepEqual(pings.lost, [])
        return `${pings.sent} pings`
      })
    },
  },
  {
    title: 'kill -9 of all agents during a roll-out: every pod of it becomes Ready, and running pods lose no ping',
    short: true,
    async run(cluster) {
      const { lab, margay } = cluster
      return await withPods(cluster, 'steady', 3, async pods => {
        const startedMs = performance.now()
        let readyMs = 0
        const pings = await pingWhile(pairsOfNodes(pods), async () => {
          try {
            await lab.apply([deployment('rollout', 24)])
            await seconds(1.5)
            await Promise.all(nodeNames(cluster).map(name => margay.crash(name)))
            await rolledOut(lab, 'rollout')
            readyMs = performance.now() - startedMs
            const rolled = await runningPods(lab, 'rollout')
            assert.equal(new Set(rolled.map(({ address }) => address)).size, 24)
            await allReach([...pods, ...rolled.slice(0, 1), ...rolled.slice(-1)])
          } finally {
            await removeApp(lab, 'rollout')
          }
        })
        assert.deepEqual(pings.lost, [])
        return `24 pods Ready after ${(readyMs / 1000).toFixed(1)} s, ${pings.sent} pings`
      })
    },
  },
  {
    title: `an agent that is away for ${AWAY_SECONDS} s leaves its node Ready and without a new taint; ADD waits for it, DEL is not lost`,
    short: true,
    async run(cluster) {
      const { lab, margay } = cluster
      return await withPods(
        cluster,
        'gone',
        1,
        async ([gone]) => {
          await margay.keepAway('n2')
          const unready: number[] = []
          const startedMs = performance.now()
          try {
            await lab.apply([deployment('waiting', 1, { node: 'n2' })])
            await lab.must(['delete', 'pod', gone!.name, '--wait=false'])
            while (performance.now() - startedMs < AWAY_SECONDS * 1000) {
              if (!(await isReady(lab, 'n2'))) unready.push(Math.round((performance.now() - startedMs) / 1000))
              await seconds(2)
            }
          } finally {
            await margay.bringBack('n2')
          }
          const backMs = performance.now()
          try {
            await rolledOut(lab, 'waiting', { seconds: 60 })
          } finally {
            await removeApp(lab, 'waiting')
          }
          assert.deepEqual(unready, [], 'not Ready after so many seconds')
          await lab.must(['wait', '--for=delete', `pod/${gone!.name}`, '--timeout=60s'])
          return `its pod Ready ${((performance.now() - backMs) / 1000).toFixed(1)} s after the agent's return`
        },
        { node: 'n2' },
      )
    },
  },
  {
    title: 'an agent that stays away longer makes its node NotReady, and its return makes it Ready',
    short: false,
    async run(cluster) {
      const { lab, margay } = cluster
      await margay.keepAway('n2')
      const startedMs = performance.now()
      let lostMs: number
      try {
        assert.ok(await until(async () => !(await isReady(lab, 'n2')), 120_000, 1000), 'still Ready after two minutes')
        lostMs = performance.now() - startedMs
      } finally {
        await margay.bringBack('n2')
      }
      assert.ok(await until(() => isReady(lab, 'n2'), 60_000, 500), 'not Ready a minute after its return')
      return `NotReady after ${(lostMs / 1000).toFixed(0)} s`
    },
  },
  {
    title: 'an agent whose data directory was wiped keeps its running pods, and gives no pod the address of another',
    short: true,
    async run(cluster) {
      const { lab, margay } = cluster
      return await withPods(cluster, 'wiped', 6, async pods => {
        const pings = await pingWhile(pairsOfNodes(pods), () => margay.wipe('n1'))
        assert.deepEqual(pings.lost, [])
        return await withPods(cluster, 'later', 12, async later => {
          const addresses = [...(await runningPods(lab, 'wiped')), ...later].map(({ address }) => address)
          assert.equal(new Set(addresses).size, addresses.length, 'an address was given twice')
          await allReach([...pods.slice(0, 3), ...later.slice(0, 3)])
          return `${pings.sent} pings`
        })
      })
    },
  },
]
