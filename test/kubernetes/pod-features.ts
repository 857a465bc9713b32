// What kubelet and the plugins behind ours do for single pods: probes, ports of the node.
import assert from 'node:assert/strict'
import type { Case } from './case.ts'
import { eventually, fetchFrom, fromPod, seconds, withPods } from './observe.ts'

const HOST_PORT = 8095

export const podCases: readonly Case[] = [
  {
    title: 'kubelet reaches its pods on every node with probes over HTTP and TCP, and starts none of them again',
    short: true,
    beside: true,
    async run(cluster) {
      const every = { periodSeconds: 1, timeoutSeconds: 3 }
      const container = {
        args: ['netexec', '--http-port=8080', '--udp-port=-1'],
        startupProbe: { tcpSocket: { port: 8080 }, ...every, failureThreshold: 30 },
        readinessProbe: { httpGet: { path: '/hostname', port: 8080 }, ...every },
        livenessProbe: { tcpSocket: { port: 8080 }, ...every },
      }
      return await withPods(
        cluster,
        'probed',
        3,
        async () => {
          await seconds(4)
          const list = (await cluster.lab.get('pods', '-l', 'app=probed')) as {
            items: { status: { containerStatuses: { ready: boolean; restartCount: number }[] } }[]
          }
          const states = list.items.flatMap(({ status }) => status.containerStatuses)
          assert.equal(states.length, 3)
          assert.deepEqual(
            states.map(({ ready, restartCount }) => ({ ready, restartCount })),
            states.map(() => ({ ready: true, restartCount: 0 })),
          )
          return undefined
        },
        { container },
      )
    },
  },
  {
    title:
      'a hostPort is reached from outside, from other nodes, from their pods and from the node itself, and goes with its pod',
    short: true,
    beside: true,
    async run(cluster) {
      const { lab } = cluster
      const node = lab.node('n3')
      const url = `http://${node.address}:${HOST_PORT}/hostname`
      return await withPods(cluster, 'asks-port', 3, async pods => {
        await withPods(
          cluster,
          'host-port',
          1,
          async ([served]) => {
            const from = [lab.plan.api.netns, ...lab.plan.nodes.map(({ netns }) => netns)]
            for (const netns of from)
              assert.equal(await eventually(() => fetchFrom(cluster, netns, url)), served!.name, `from ${netns}`)
            const local = `http://127.0.0.1:${HOST_PORT}/hostname`
            assert.equal(await fetchFrom(cluster, node.netns, local), served!.name, 'by the loopback address')
            for (const pod of pods)
              assert.equal(
                await fromPod(pod, ['curl', '-sS', '--max-time', '5', url]),
                served!.name,
                `from ${pod.node}`,
              )
            // the pod itself asks for its own port
            assert.equal(await fromPod(served!, ['curl', '-sS', '--max-time', '5', url]), served!.name, 'from itself')
          },
          { node: 'n3', container: { ports: [{ containerPort: 8080, hostPort: HOST_PORT }] } },
        )
        // the Pod object is gone at once, the pod itself a moment later
        await eventually(() => assert.rejects(fetchFrom(cluster, lab.plan.api.netns, url), /connect to server/i))
        return undefined
      })
    },
  },
]
