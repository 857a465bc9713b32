// Paths that other settings of a machine narrow: a strict filter of the reverse path, a small MTU in the middle, tables of
// other programs; and those of pods without a network of their own.
import assert from 'node:assert/strict'
import { spawnInNetns } from '../../kernel/netns.ts'
import { service } from '../../lab/kubernetes/objects.ts'
import { until } from '../../lab/program.ts'
import type { Case } from './case.ts'
import {
  allReach,
  broken,
  eventually,
  fromPod,
  inPod,
  isReady,
  nodeNetns,
  nodePortsAnswer,
  nodesAndPods,
  podOn,
  withPods,
} from './observe.ts'

/** Of docker, as it has them on a machine with one container network. */
const DOCKER = `
ip link add docker0 type bridge
ip address add 172.17.0.1/16 dev docker0
ip link set docker0 up
iptables -N DOCKER
iptables -N DOCKER-USER
iptables -A DOCKER-USER -j RETURN
iptables -I FORWARD -j DOCKER-USER
iptables -A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
iptables -A FORWARD -o docker0 -j DOCKER
iptables -A FORWARD -i docker0 ! -o docker0 -j ACCEPT
iptables -t nat -N DOCKER
iptables -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
iptables -t nat -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
iptables -P FORWARD DROP
`
/** What an operator may have added before the agent came: then the chain passes pods, and takes no rule of ours. */
const LET_PODS_PASS = `
iptables -I FORWARD -s 10.244.0.0/16 -j ACCEPT
iptables -I FORWARD -d 10.244.0.0/16 -j ACCEPT
`
const NO_DOCKER = `
iptables -P FORWARD ACCEPT
iptables -D FORWARD -s 10.244.0.0/16 -j ACCEPT
iptables -D FORWARD -d 10.244.0.0/16 -j ACCEPT
iptables -D FORWARD -j DOCKER-USER
iptables -D FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
iptables -D FORWARD -o docker0 -j DOCKER
iptables -D FORWARD -i docker0 ! -o docker0 -j ACCEPT
iptables -t nat -D PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
iptables -t nat -D POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
iptables -F DOCKER-USER
iptables -X DOCKER-USER
iptables -X DOCKER
iptables -t nat -X DOCKER
ip link delete docker0
`

const CONTENT_BYTES = 4_000_000
const SERVER = `require('http').createServer((request, answer) => {
  let got = 0
  request.on('data', chunk => { got += chunk.length })
  request.on('end', () => answer.end(request.method === 'POST' ? String(got) : Buffer.alloc(${CONTENT_BYTES})))
}).listen(9000)`

export const pathCases: readonly Case[] = [
  {
    title:
      'where every node filters the reverse path strictly, pods and nodes reach each other both ways, by node ports too',
    short: true,
    async run(cluster) {
      const { lab } = cluster
      const strict = async (value: 0 | 1) => {
        for (const { netns } of lab.plan.nodes)
          for (const name of ['all', 'eth0'])
            await lab.inNetns(netns, ['sysctl', '-qw', `net.ipv4.conf.${name}.rp_filter=${value}`])
      }
      await strict(1)
      try {
        return await withPods(cluster, 'strict', 3, async pods => {
          const masqueraded = await nodesAndPods(cluster, pods)
          await lab.apply([exclusions('IPPoolsAndHostIPs')])
          try {
            // the agents hear of it a moment later
            await eventually(() => nodesAndPods(cluster, pods))
          } finally {
            await lab.must(['delete', 'felixconfiguration/default'])
          }
          await lab.apply([service('strict', { type: 'NodePort' })])
          try {
            await nodePortsAnswer(cluster, 'strict')
          } finally {
            await lab.must(['delete', 'service/strict'])
          }
          return `${masqueraded} ways`
        })
      } finally {
        await strict(0)
      }
    },
  },
  {
    title:
      'with a router of 1,400 bytes between the nodes, 4 MB go each way between pods, and between a pod and a node',
    short: true,
    async run(cluster) {
      const { lab } = cluster
      const mtu = async (bytes: number) => {
        for (const { bridge } of lab.plan.lans) {
          const run = await lab.inNetns(lab.plan.router.netns, ['ip', 'link', 'set', bridge, 'mtu', String(bytes)])
          assert.equal(run.code, 0, run.stderr)
        }
      }
      return await withPods(cluster, 'narrow', 3, async pods => {
        const [near, far] = [podOn(pods, 'n1'), podOn(pods, 'n3')]
        const servers = [far.netns, nodeNetns('n3', cluster)].map(netns =>
          spawnInNetns(netns, process.execPath, ['-e', SERVER], { stdio: 'ignore' }),
        )
        try {
          await mtu(1400)
          for (const address of [far.address, lab.node('n3').address]) {
            const got = ['curl', '-sS', '--max-time', '20', '--retry', '5', '--retry-connrefused', '-o', '/dev/null']
            const url = `http://${address}:9000/`
            const down = await fromPod(near, [...got, '-w', '%{size_download}', url])
            assert.equal(Number(down), CONTENT_BYTES, `from ${address}`)
            const sent = ['-X', 'POST', '--data-binary', `@${process.execPath}`, '-H', 'Expect:']
            const up = await fromPod(near, ['curl', '-sS', '--max-time', '60', ...sent, url])
            assert.ok(Number(up) > CONTENT_BYTES, `to ${address}: ${up}`)
          }
          // as large as the pod's own MTU lets a packet be, and not to be fragmented on the way
          const size = `${1450 - 28}`
          return (await fromPod(near, ['ping', '-M', 'do', '-s', size, '-c', '3', '-W', '2', far.address]))
            .split('\n')
            .find(line => line.includes('received'))
        } finally {
          await mtu(1500)
          for (const server of servers) server.kill('SIGKILL')
        }
      })
    },
  },
  {
    title: 'a pod in the network of its node reaches pods of every node, and they reach it',
    short: true,
    beside: true,
    async run(cluster) {
      const hostNetwork = { pod: { hostNetwork: true, dnsPolicy: 'ClusterFirstWithHostNet' }, port: 8090 }
      return await withPods(cluster, 'own-network', 3, async pods =>
        withPods(
          cluster,
          'node-network',
          3,
          async () => {
            const list = (await cluster.lab.get('pods', '-l', 'app=node-network')) as {
              items: { metadata: { name: string }; status: { hostIP: string } }[]
            }
            for (const { metadata, status } of list.items)
              for (const pod of pods) {
                await inPod(cluster, metadata, 'connect', `${pod.address}:8080`, '--timeout=5s')
                await fromPod(pod, ['curl', '-sS', '--max-time', '5', `http://${status.hostIP}:8090/hostname`])
              }
            return `${2 * list.items.length * pods.length} connections`
          },
          hostNetwork,
        ),
      )
    },
  },
  {
    title:
      'beside the tables of docker, with a FORWARD chain that drops all but pods, nothing of a node’s pods is lost',
    short: true,
    async run(cluster) {
      const { lab, margay } = cluster
      const machine = lab.machine('n1')
      const shell = async (script: string) => {
        for (const line of script.trim().split('\n')) {
          const run = await machine.run(line.split(' '))
          if (script !== NO_DOCKER) assert.equal(run.code, 0, `${line}: ${run.stderr}`)
        }
      }
      return await withPods(cluster, 'before-docker', 3, async before => {
        try {
          await shell(LET_PODS_PASS)
          await shell(DOCKER)
          // an agent that starts beside docker0 takes the same address as before
          await margay.crash('n1')
          await margay.agentAnswers('n1')
          const passes = async () => (await broken(cluster, 'n1'))?.ready === true
          assert.ok(await until(passes, 30_000, 500), JSON.stringify(await broken(cluster, 'n1')))
          return await withPods(cluster, 'beside-docker', 3, async after => {
            const pairs = await allReach([...before, ...after])
            const api = ['curl', '-sSk', '--max-time', '5', '-o', '/dev/null', `https://${lab.apiService}:443/livez`]
            for (const pod of [...before, ...after]) await fromPod(pod, api)
            assert.ok(await isReady(lab, 'n1'))
            const annotated = (await lab.get('node/n1')) as { metadata: { annotations: Record<string, string> } }
            assert.equal(
              annotated.metadata.annotations['projectcalico.org/IPv4Address']?.split('/')[0],
              lab.node('n1').address,
            )
            return `${pairs} pairs`
          })
        } finally {
          await shell(NO_DOCKER)
        }
      })
    },
  },
]

const exclusions = (natOutgoingExclusions: string) => ({
  apiVersion: 'projectcalico.org/v3',
  kind: 'FelixConfiguration',
  metadata: { name: 'default' },
  spec: { natOutgoingExclusions },
})
