// The misfortunes of what stands around the agent: API server, kubelet, containerd, the node and its Node object.
import assert from 'node:assert/strict'
import { deployment } from '../../lab/kubernetes/objects.ts'
import { runningPods } from '../../lab/kubernetes/pods.ts'
import { until } from '../../lab/program.ts'
import type { Case } from './case.ts'
import {
  allReach,
  healthy,
  holdings,
  isReady,
  nodeObject,
  nothingLeft,
  pairsOfNodes,
  pingWhile,
  removeApp,
  rolledOut,
  seconds,
  withPods,
} from './observe.ts'

export const nodeCases: readonly Case[] = [
  apiServerDead(12, true),
  apiServerDead(60, false),
  {
    title: 'etcd is stopped and started again: pods lose no ping, and pods come and go after',
    short: true,
    async run(cluster) {
      const { lab } = cluster
      const before = await holdings(cluster)
      const said = await withPods(cluster, 'without-store', 3, async pods => {
        const pings = await pingWhile(pairsOfNodes(pods), async () => {
          await lab.stopControl('etcd')
          await seconds(5)
          lab.startControl('etcd')
          await lab.apiReady()
        })
        assert.deepEqual(pings.lost, [])
        await healthy(cluster)
        return await withPods(cluster, 'stored', 3, async after => {
          await allReach([...pods, ...after])
          return `${pings.sent} pings`
        })
      })
      await nothingLeft(cluster, before)
      return said
    },
  },
  {
    title: 'a kubelet and a containerd that restart keep every pod and its network, and start new ones',
    short: true,
    async run(cluster) {
      const { lab } = cluster
      return await withPods(cluster, 'kept', 3, async pods => {
        const pings = await pingWhile(pairsOfNodes(pods), async () => {
          const machine = lab.machine('n1')
          await machine.stop('kubelet', 'KILL')
          await machine.stop('containerd', 'KILL')
          await lab.startContainerd('n1')
          await lab.startKubelet('n1')
          await seconds(3)
          await healthy(cluster)
        })
        assert.deepEqual(pings.lost, [])
        assert.deepEqual(
          (await runningPods(lab, 'kept')).map(({ name, address }) => `${name} ${address}`),
          pods.map(({ name, address }) => `${name} ${address}`),
        )
        return await withPods(
          cluster,
          'next',
          1,
          async next => {
            await allReach([...pods, ...next])
            return `${pings.sent} pings`
          },
          { node: 'n1' },
        )
      })
    },
  },
  {
    title: 'a node that lost its power is Ready again with its pods, and holds nothing of the pods before',
    short: true,
    async run(cluster) {
      const { lab, margay } = cluster
      const before = await holdings(cluster)
      const startedMs = performance.now()
      let backMs = 0
      await withPods(cluster, 'rebooted', 6, async () => {
        await lab.reboot('n2')
        await margay.agentAnswers('n2')
        await seconds(5)
        await healthy(cluster)
        await lab.must(['wait', '--for=condition=Ready', 'pod', '-l', 'app=rebooted', '--timeout=90s'], {
          limitMs: 100_000,
        })
        backMs = performance.now() - startedMs
        const pods = await runningPods(lab, 'rebooted')
        assert.equal(pods.length, 6)
        await allReach(pods)
      })
      await nothingLeft(cluster, before, 'count')
      return `its pods Ready ${(backMs / 1000).toFixed(0)} s after`
    },
  },
  {
    title: 'a Node that is deleted and registers again with another UID serves pods as before',
    short: true,
    async run(cluster) {
      const { lab } = cluster
      const before = (await nodeObject(lab, 'n2')).metadata.uid
      await lab.must(['delete', 'node', 'n2'])
      // kubelet registers only when it starts
      await lab.machine('n2').stop('kubelet')
      await lab.startKubelet('n2')
      const again = async () => (await lab.get('node/n2')) !== undefined && (await isReady(lab, 'n2'))
      assert.ok(await until(again, 90_000, 1000), 'n2 is not Ready again')
      assert.notEqual((await nodeObject(lab, 'n2')).metadata.uid, before)
      return await withPods(cluster, 'again', 6, async pods => {
        assert.equal(pods.filter(({ node }) => node === 'n2').length, 2)
        return `${await allReach(pods)} pairs`
      })
    },
  },
  {
    title: 'pods that are made and deleted all the time while the API server stops and starts leave nothing behind',
    short: false,
    async run(cluster) {
      const { lab } = cluster
      const before = await holdings(cluster)
      for (let round = 0; round < 3; round++) {
        await lab.apply([deployment('churn', 20)])
        await seconds(2)
        await lab.stopControl('kube-apiserver')
        await seconds(3)
        lab.startControl('kube-apiserver')
        await lab.apiReady()
        await rolledOut(lab, 'churn')
        await removeApp(lab, 'churn')
      }
      await nothingLeft(cluster, before)
      return undefined
    },
  },
]

/** The longer it is dead, the longer kubelets and controllers wait after it before they ask again: up to a minute. */
function apiServerDead(deadSeconds: number, short: boolean): Case {
  return {
    title: `the API server is dead for ${deadSeconds} s: pods lose no ping, a killed agent starts without it, and pods come and go after`,
    short,
    async run(cluster) {
      const { lab, margay } = cluster
      const before = await holdings(cluster)
      const said = await withPods(cluster, 'through', 3, async pods => {
        const pings = await pingWhile(pairsOfNodes(pods), async () => {
          await lab.stopControl('kube-apiserver')
          await margay.crash('n1')
          await seconds(deadSeconds)
          await margay.agentAnswers('n1')
          lab.startControl('kube-apiserver')
          await lab.apiReady()
        })
        assert.deepEqual(pings.lost, [])
        await healthy(cluster)
        return await withPods(cluster, 'after', 6, async after => {
          await allReach([...pods, ...after.slice(0, 3)])
          return `${pings.sent} pings`
        })
      })
      await nothingLeft(cluster, before)
      return said
    },
  }
}
