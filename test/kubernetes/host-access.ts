// What the agents' pods have of the host, taken away one by one: each capability and each folder is missed, and what misses it
// names it. Afterwards the agent is ready again.
import assert from 'node:assert/strict'
import type { AgentPod } from '../../lab/kubernetes/margay.ts'
import { deployment } from '../../lab/kubernetes/objects.ts'
import { until } from '../../lab/program.ts'
import type { CAPABILITIES, VOLUMES } from '../../manifests/node.ts'
import type { Case, Cluster } from './case.ts'
import { broken, removeApp } from './observe.ts'

type Lack = {
  /** A condition, a log or, with `ofPod`, an event of a new pod must match this. */
  named: RegExp
  /** `unready`: the agent's pod is not ready. `newPods`: it is, and a new pod gets no network. `told`: pods work. */
  effect: 'unready' | 'newPods' | 'told'
}

/**
 * Missed where peers ask for it alone: SYS_NICE for BFD (test/agent/bfd-on-demand.test.ts), NET_RAW for peers by interface
 * (test/kernel/router-advertisement.netns.test.ts). Without NET_BROADCAST pods are looked at in turns (test/cni/pod-watch.test.ts).
 */
const CAPABILITY_LACKS: Readonly<
  Record<Exclude<keyof typeof CAPABILITIES, 'SYS_NICE' | 'NET_RAW' | 'NET_BROADCAST'>, Lack>
> = {
  NET_ADMIN: { named: /give it CAP_NET_ADMIN/, effect: 'unready' },
  NET_BIND_SERVICE: { named: /SessionsAccepted Forbidden: .* port 179: EACCES/, effect: 'told' },
  SYS_ADMIN: { named: /PodsEntered Forbidden: .*no pod can be added/, effect: 'unready' },
}

/** By the volume; those of the init container alone are taken from it, and the others from the agent. */
const VOLUME_LACKS: Readonly<Record<keyof typeof VOLUMES, Lack>> = {
  data: { named: /JournalKept NotWritable: \/var\/lib\/margay cannot be written/, effect: 'told' },
  run: { named: /mkdir '\/run\/margay'/, effect: 'unready' },
  netns: {
    named: /there is no network namespace \/var\/run\/netns\/\S+; .*the host's \/run\/netns/,
    effect: 'newPods',
  },
  sysctl: { named: /mount the machine’s \/proc\/sys\/net at \/host\/proc\/sys\/net/, effect: 'unready' },
  'machine-id': { named: /no machine-id\(5\) in \/etc\/machine-id/, effect: 'told' },
  'cni-bin': { named: /the plugin was not installed: .*'\/host\/cni\/bin'/, effect: 'unready' },
  'cni-conf': { named: /NetworkConfigured NotKept: .*\/host\/cni\/net\.d\//, effect: 'told' },
  token: { named: /this is no pod with a service account/, effect: 'unready' },
}

function withoutCapability(name: string): (pod: AgentPod) => void {
  return ({ containers }) => {
    for (const { securityContext } of containers) {
      const { add = [] } = securityContext.capabilities
      assert.ok(add.includes(name), `no container has ${name}`)
      securityContext.capabilities.add = add.filter(each => each !== name)
    }
  }
}

function withoutVolume(name: string): (pod: AgentPod) => void {
  return ({ initContainers, containers }) => {
    const has = (each: AgentPod['containers'][number]) => each.volumeMounts.some(mount => mount.name === name)
    const container = containers.find(has) ?? initContainers.find(has)
    assert.ok(container, `no container mounts ${name}`)
    container.volumeMounts = container.volumeMounts.filter(mount => mount.name !== name)
  }
}

const NODE = 'n1'
const TRIED = 'host-access'

/** Resolves with what names the lack. */
async function missed(cluster: Cluster, { named, effect }: Lack): Promise<string> {
  const { lab, margay } = cluster
  let said: string[] = []
  const isNamed = async () => {
    const conditions = (await broken(cluster, NODE))?.said ?? []
    const events = effect === 'newPods' ? (await lab.must(['get', 'events', '-o', EVENTS])).split('\n') : []
    said = [...conditions, ...events, ...(await margay.allLogs(NODE)).split('\n')]
    return said.some(each => named.test(each))
  }
  if (effect === 'newPods') await lab.apply([deployment(TRIED, 1, { node: NODE })])
  try {
    assert.ok(await until(isNamed, 60_000, 1000), `it is not named:\n${said.join('\n').slice(-2000)}`)
    const ready = effect !== 'unready'
    const isSo = async () => (await margay.podIsReady(NODE)) === ready
    assert.ok(await until(isSo, 30_000, 1000), `the agent's pod is ${ready ? 'not ' : ''}ready`)
    return named.exec(said.find(each => named.test(each))!)![0].slice(0, 120)
  } finally {
    if (effect === 'newPods') await removeApp(lab, TRIED)
  }
}

const EVENTS = 'jsonpath={range .items[*]}{.message}{"\\n"}{end}'

function caseOf(what: string, take: (pod: AgentPod) => void, lack: Lack): Case {
  return {
    title: `without ${what} the agent's pod says what it lacks, and with it the pod is ready again`,
    short: false,
    async run(cluster) {
      const { margay } = cluster
      try {
        await margay.changePod(NODE, take)
        return await missed(cluster, lack)
      } finally {
        await margay.restorePod(NODE)
        const isWhole = async () => (await margay.podIsReady(NODE)) && (await broken(cluster, NODE))?.ready === true
        assert.ok(await until(isWhole, 60_000, 1000), 'the agent is not ready a minute after it has everything again')
      }
    },
  }
}

export const hostAccessCases: readonly Case[] = [
  ...Object.entries(CAPABILITY_LACKS).map(([name, lack]) => caseOf(`CAP_${name}`, withoutCapability(name), lack)),
  ...Object.entries(VOLUME_LACKS).map(([name, lack]) => caseOf(`the volume ${name}`, withoutVolume(name), lack)),
]
