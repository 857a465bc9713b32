// Packets: between pods, to Services, to names, and out of the cluster.
import assert from 'node:assert/strict'
import { echo } from '../../kernel/echo.ts'
import { binary } from '../../lab/kubernetes/binaries.ts'
import { service } from '../../lab/kubernetes/objects.ts'
import type { Case } from './case.ts'
import { allReach, eventually, fetchFrom, healthy, inPod, nodeNetns, withPods } from './observe.ts'

export const trafficCases: readonly Case[] = [
  {
    title: 'every node becomes Ready once Margay is installed',
    short: true,
    async run(cluster) {
      await healthy(cluster)
      return undefined
    },
  },
  {
    title: "a Deployment's pods on two nodes of a LAN and on another LAN reach each other with their first packet",
    short: true,
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
    async run(cluster) {
      return await withPods(cluster, 'nodes', 3, async pods => {
        const lost: string[] = []
        for (const node of cluster.lab.plan.nodes)
          for (const pod of pods) {
            const there = await echo(nodeNetns(node.name, cluster), pod.address, 3000)
            if ('error' in there) lost.push(`${node.name} to the pod on ${pod.node}: ${there.error}`)
            const back = await echo(pod.netns, node.address, 3000)
            if ('error' in back) lost.push(`the pod on ${pod.node} to ${node.name}: ${back.error}`)
          }
        assert.deepEqual(lost, [])
        return undefined
      })
    },
  },
  {
    title:
      'a Service answers pods of every node by its address, and nodes by its node port, with the pods on other nodes',
    short: true,
    async run(cluster) {
      const { lab } = cluster
      return await withPods(cluster, 'asking', 3, pods =>
        withPods(
          cluster,
          'served',
          1,
          async () => {
            await lab.apply([service('served', { type: 'NodePort' })])
            const { spec } = (await lab.get('service/served')) as {
              spec: { clusterIP: string; ports: { nodePort: number }[] }
            }
            try {
              for (const pod of pods)
                await eventually(() => inPod(cluster, pod, 'connect', `${spec.clusterIP}:80`, '--timeout=3s'))
              for (const node of lab.plan.nodes) {
                const url = `http://${node.address}:${spec.ports[0]!.nodePort}/hostname`
                assert.match(
                  await eventually(() => fetchFrom(cluster, lab.plan.api.netns, url)),
                  /^served-/,
                  `by the port of ${node.name}`,
                )
              }
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
    title:
      'pods reach the API server by its Service, and a server outside of the cluster sees the address of their node',
    short: true,
    async run(cluster) {
      const { lab } = cluster
      const { api } = lab.plan
      const server = lab.startOutside('outside', [binary('agnhost'), 'netexec', '--http-port=8099', '--udp-port=-1'])
      try {
        return await withPods(cluster, 'outwards', 3, async pods => {
          const seen: string[] = []
          for (const pod of pods) {
            await inPod(cluster, pod, 'connect', '10.96.0.1:443', '--timeout=5s')
            const url = `http://localhost:8080/dial?host=${api.address}&port=8099&request=clientip&protocol=http&tries=1`
            const answer = await lab.must([
              'exec',
              pod.name,
              '--',
              '/agnhost',
              'connect',
              `${api.address}:8099`,
              '--timeout=5s',
            ])
            const dialled = await fetchFrom(cluster, lab.node(pod.node).netns, url.replace('localhost', pod.address))
            const { address } = lab.node(pod.node)
            assert.ok(
              dialled.includes(`"${address}:`),
              `the pod on ${pod.node} (${address}) came as ${dialled} ${answer}`,
            )
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
