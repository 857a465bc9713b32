// Margay in the lab's Kubernetes. Everything that depends on how the agent gets onto a node is in this file: from the
// source tree, one process per node beside its kubelet, with the rights of the service account that it has in a cluster.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { askAgent } from '../ask.ts'
import { kubeconfigText } from '../cluster.ts'
import { LabFailure, root } from '../lab.ts'
import type { KubernetesLab } from './cluster.ts'
import { POD_CIDR } from './programs.ts'

const ACCOUNT = { name: 'margay-node', namespace: 'kube-system' }

/** The rights of the agent in a cluster. */
const RULES = [
  { apiGroups: [''], resources: ['nodes'], verbs: ['list', 'watch'] },
  { apiGroups: [''], resources: ['nodes/status'], verbs: ['patch'] },
  {
    apiGroups: ['projectcalico.org'],
    resources: [
      ...['ippools', 'bgpconfigurations', 'bgppeers', 'felixconfigurations', 'ipreservations'],
      'ipamconfigurations',
    ],
    verbs: ['list', 'watch'],
  },
  {
    apiGroups: ['projectcalico.org'],
    resources: ['ipamblocks'],
    verbs: ['get', 'list', 'watch', 'create', 'update', 'delete'],
  },
]

export class Margay {
  readonly #lab: KubernetesLab

  constructor(lab: KubernetesLab) {
    this.#lab = lab
  }

  /** Returns when the agent of every node answers; nodes are Ready a moment later. */
  async install(): Promise<void> {
    await this.#lab.must(['apply', '--server-side', '-f', join(root, 'manifests/crds.yaml')])
    const crds = ['ippools', 'bgpconfigurations', 'ipamblocks'].map(name => `crd/${name}.projectcalico.org`)
    await this.#lab.must(['wait', '--for=condition=Established', '--timeout=30s', ...crds])
    await this.#lab.apply([...settings(), ...rights(RULES)])
    const token = await this.#lab.must(['create', 'token', ACCOUNT.name, '-n', ACCOUNT.namespace, '--duration=24h'])
    const { address, port } = this.#lab.plan.api
    const authority = readFileSync(join(this.#lab.dir, 'control', 'tls.crt')).toString('base64')
    const config = kubeconfigText(`https://${address}:${port}`, authority, token.trim())
    for (const { name } of this.#lab.plan.nodes) {
      writeFileSync(join(this.#lab.shared, 'margay.conf'), config, { mode: 0o600 })
      await this.#startAgent(name)
    }
    await Promise.all(this.#lab.plan.nodes.map(({ name }) => this.#installPlugin(name)))
    for (const { name } of this.#lab.plan.nodes) await this.agentAnswers(name)
  }

  async #startAgent(name: string): Promise<void> {
    await this.#lab
      .machine(name)
      .start('margay-node', [
        ...[process.execPath, join(root, 'agent/main.ts'), '--node-name', name],
        ...['--kubeconfig', '/mnt/margay.conf', '--log-level', 'info'],
      ])
  }

  /** Every agent is replaced, one node after another, as by an upgrade. */
  async roll(): Promise<void> {
    for (const { name } of this.#lab.plan.nodes) {
      await this.#lab.machine(name).stop('margay-node')
      await this.bringBack(name)
    }
  }

  /** kill -9; what keeps it running starts it again. */
  async crash(name: string): Promise<void> {
    await this.keepAway(name)
    await this.#startAgent(name)
  }

  /** kill -9, and it stays away until `bringBack`. */
  async keepAway(name: string): Promise<void> {
    await this.#lab.machine(name).stop('margay-node', 'KILL')
  }

  async bringBack(name: string): Promise<void> {
    await this.#startAgent(name)
    await this.agentAnswers(name)
  }

  /** The agent starts with an empty data directory, as on a new disk. */
  async wipe(name: string): Promise<void> {
    const machine = this.#lab.machine(name)
    await machine.stop('margay-node')
    await machine.run(['rm', '-rf', '/var/lib/margay'])
    await this.bringBack(name)
  }

  /** After `reboot`: what starts with the node. */
  async afterBoot(name: string): Promise<void> {
    await this.bringBack(name)
  }

  /** Takes the agent's rights on blocks away, until `restoreRights`. */
  async withholdBlocks(): Promise<void> {
    await this.#lab.apply(rights(RULES.filter(({ resources }) => !resources.includes('ipamblocks'))))
  }

  async restoreRights(): Promise<void> {
    await this.#lab.apply(rights(RULES))
  }

  async agentAnswers(name: string): Promise<void> {
    await this.#lab.reached(`the agent of ${name} to answer`, 30, async () => {
      return (await this.status(name)) !== undefined
    })
  }

  /** What the agent says of itself; undefined when it does not answer. */
  async status(name: string): Promise<unknown> {
    return await askAgent(this.#lab.machine(name).path('/run/margay/agent.sock'), '/status')
  }

  /** The agent's log since the node's first start. */
  async log(name: string): Promise<string> {
    return readFileSync(this.#lab.machine(name).logFile('margay-node'), 'utf8')
  }

  async #installPlugin(name: string): Promise<void> {
    const argv = [
      ...[process.execPath, join(root, 'agent/main.ts'), 'install'],
      ...['--bin-dir', '/opt/cni/bin', '--conf-dir', '/etc/cni/net.d'],
    ]
    const run = await this.#lab.machine(name).run(argv)
    if (run.code !== 0) throw new LabFailure(`${name}: the CNI plugin could not be installed: ${run.stderr.trim()}`)
  }
}

/** One pool, tunnels only between the LANs: VXLAN, since many kernels of container hosts have no IP-in-IP. */
function settings(): unknown[] {
  return [
    {
      apiVersion: 'projectcalico.org/v3',
      kind: 'IPPool',
      metadata: { name: 'default-ipv4-ippool' },
      spec: { cidr: POD_CIDR, blockSize: 26, ipipMode: 'Never', vxlanMode: 'CrossSubnet', natOutgoing: true },
    },
    {
      apiVersion: 'projectcalico.org/v3',
      kind: 'BGPConfiguration',
      metadata: { name: 'default' },
      spec: { nodeToNodeMeshEnabled: true, asNumber: 64512 },
    },
  ]
}

function rights(rules: readonly unknown[]): unknown[] {
  const group = 'rbac.authorization.k8s.io'
  return [
    { apiVersion: 'v1', kind: 'ServiceAccount', metadata: ACCOUNT },
    { apiVersion: `${group}/v1`, kind: 'ClusterRole', metadata: { name: ACCOUNT.name }, rules },
    {
      apiVersion: `${group}/v1`,
      kind: 'ClusterRoleBinding',
      metadata: { name: ACCOUNT.name },
      roleRef: { apiGroup: group, kind: 'ClusterRole', name: ACCOUNT.name },
      subjects: [{ kind: 'ServiceAccount', ...ACCOUNT }],
    },
  ]
}
