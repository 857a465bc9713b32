// Packets: between pods, to Services, to names, and out of the cluster.
import assert from 'node:assert/strict'
import { binary } from '../../lab/kubernetes/binaries.ts'
import { service } from '../../lab/kubernetes/objects.ts'
import type { Case, Cluster } from './case.ts'
import { allReach, eventually, fetchFrom, healthy, inPod, nodePortsAnswer, nodesAndPods, withPods } from './observe.ts'

export const trafficCases: readonly Case[] = [
  {
    title: 'every node becomes Ready once Margay is installed',
    short: true,
    beside: true,
    async run(cluster) {
      await healthy(cluster)
      return undefined
    },
  },
  {
    title: "a Deployment's pods on two nodes of a LAN and on another LAN reach each other with their first packet",
    short: true,
    beside: true,
    async run(cluster) {
      return await withPods(cluster, 'reach', 6, async pods => {
        assert.deepEqual([...new Set(pods.map(({ node }) => node))].sort(), ['n1', 'n2', 'n3'])
        return `${await allReach(pods)} pairs`
      })
    },
  },
  {
    title: 'a node reaches the pods of every node, and a pod reaches every node',
    short: true,
    beside: true,
    async run(cluster) {
      return await withPods(cluster, 'nodes', 3, async pods => `${await nodesAndPods(cluster, pods)} ways`)
    },
  },
  {
    title:
      'a Service answers pods of every node by its address, and nodes by its node port, with the pods on other nodes',
    short: true,
    beside: true,
    async run(cluster) {
      const { lab } = cluster
      return await withPods(cluster, 'asking', 3, pods =>
        withPods(
          cluster,
          'served',
          1,
          async () => {
            await lab.apply([service('served', { type: 'NodePort' })])
            const { spec } = (await lab.get('service/served')) as { spec: { clusterIP: string } }
            try {
              for (const pod of pods)
                await eventually(() => inPod(cluster, pod, 'connect', `${spec.clusterIP}:80`, '--timeout=3s'))
              await nodePortsAnswer(cluster, 'served')
            } finally {
              await lab.must(['delete', 'service/served'])
            }
            return undefined
          },
          { node: 'n3' },
        ),
      )
    },
  },
  {
    title: 'a node of every LAN asks a Service by UDP, and gets an answer, whichever LAN the pod is on that answers',
    short: true,
    beside: true,
    async run(cluster) {
      const { nodes } = cluster.lab.plan
      const answers: string[] = []
      for (const [i, { name: node }] of [nodes[0]!, nodes.at(-1)!].entries())
        answers.push(...(await udpAnswers(cluster, `datagrams-${i + 1}`, node)))
      return answers.join(', ')
    },
  },
  {
    title:
      'pods reach the API server by its Service, and a server outside of the cluster sees the address of their node',
    short: true,
    beside: true,
    async run(cluster) {
      const { lab } = cluster
      const { api } = lab.plan
      const server = lab.startOutside('outside', [binary('agnhost'), 'netexec', '--http-port=8099', '--udp-port=-1'])
      try {
        return await withPods(cluster, 'outwards', 3, async pods => {
          const seen: string[] = []
          for (const pod of pods) {
            await inPod(cluster, pod, 'connect', `${lab.apiService}:443`, '--timeout=5s')
            await inPod(cluster, pod, 'connect', `${api.address}:8099`, '--timeout=5s')
            const { address, netns } = lab.node(pod.node)
            const dial = `dial?host=${api.address}&port=8099&request=clientip&protocol=http&tries=1`
            const dialled = await fetchFrom(cluster, netns, `http://${pod.address}:8080/${dial}`)
            assert.ok(dialled.includes(`"${address}:`), `the pod on ${pod.node} (${address}) came as ${dialled}`)
            seen.push(address)
          }
          return seen.join(' ')
        })
      } finally {
        await server.stop()
      }
    },
  },
  {
    title: 'a pod of every node resolves the name of a Service at the cluster’s DNS, which runs in a pod',
    short: true,
    beside: true,
    async run(cluster) {
      const { lab } = cluster
      await lab.must(['rollout', 'status', '-n', 'kube-system', 'deployment/coredns', '--timeout=60s'])
      return await withPods(cluster, 'names', 3, async pods => {
        await lab.apply([service('names')])
        try {
          for (const pod of pods)
            await eventually(() => inPod(cluster, pod, 'connect', 'names.default.svc.cluster.local:80', '--timeout=5s'))
        } finally {
          await lab.must(['delete', 'service/names'])
        }
        return undefined
      })
    },
  },
]

/**
 * Asks a Service whose one pod is on `node` from the network of every node, and returns who asked whom. The cluster's DNS is
 * asked so by nodes and by pods of their network: kube-proxy masquerades it, and a tunnel may lie behind.
 */
async function udpAnswers(cluster: Cluster, name: string, node: string): Promise<string[]> {
  const { lab } = cluster
  const container = {
    args: ['netexec', '--http-port=8081', '--udp-port=8080'],
    ports: [{ containerPort: 8080, protocol: 'UDP' }],
  }
  const ask = async () => {
    await lab.apply([service(name, { protocol: 'UDP' })])
    try {
      const { spec } = (await lab.get(`service/${name}`)) as { spec: { clusterIP: string } }
      const argv = [binary('agnhost'), 'connect', `${spec.clusterIP}:80`, '--protocol=udp', '--timeout=3s']
      for (const { name: from, netns } of lab.plan.nodes)
        await eventually(async () => {
          const { code, stderr } = await lab.inNetns(netns, argv)
          assert.equal(code, 0, `${from} has no answer of the pod on ${node}: ${stderr.trim()}`)
        })
    } finally {
      await lab.must(['delete', `service/${name}`])
    }
    return lab.plan.nodes.map(({ name: from }) => `${from} to ${node}`)
  }
  return await withPods(cluster, name, 1, ask, { node, container })
}
