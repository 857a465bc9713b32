// Policies on the real cluster: what is denied is told by both ends' names from every node, and names of domains lead where the
// cluster's DNS said. Everything else of policies is played by Kubernetes' own tests (`--e2e policy`, `--e2e cluster-policy`).
import assert from 'node:assert/strict'
import { join } from 'node:path'
import type { ShownFlow } from '../../ctl/flow-view.ts'
import type { RunningPod } from '../../lab/kubernetes/pods.ts'
import { root } from '../../lab/lab.ts'
import { runProgram } from '../../lab/program.ts'
import type { Case, Cluster } from './case.ts'
import { eventually, fromPod, inPod, withPods } from './observe.ts'

const GROUP = 'policy.networking.k8s.io'
const CRD = `clusternetworkpolicies.${GROUP}`
const NAMES = 'by-name'

export const policyCases: readonly Case[] = [
  {
    title:
      'margayctl flows of all nodes names both ends of what a NetworkPolicy denies, on the node of the pod that was asked',
    short: true,
    beside: true,
    async run(cluster) {
      const name = 'told-of'
      return await withPods(cluster, name, 3, async pods => {
        const ring = pods.map((from, i) => [from, pods[(i + 1) % pods.length]!] as const)
        await cluster.lab.apply([denyAll(name)])
        try {
          for (const [from, to] of ring) await eventually(() => assert.rejects(ask(from, to)))
          await eventually(async () => {
            const flows = await deniedFlows(cluster)
            for (const [from, to] of ring)
              assert.ok(
                flows.some(each => isBetween(each, from, to)),
                `${from.name} to ${to.name}`,
              )
          })
        } finally {
          await cluster.lab.must(['delete', `networkpolicy/${name}`])
        }
        return ring.map(([from, to]) => `${from.node} to ${to.node}`).join(', ')
      })
    },
  },
  {
    title:
      'a pod reaches the pods that the cluster’s DNS told it of a name that a ClusterNetworkPolicy accepts, and no other address',
    short: false,
    async run(cluster) {
      const { lab } = cluster
      return await withClusterPolicies(cluster, () =>
        withPods(cluster, NAMES, 1, ([told]) =>
          withPods(cluster, 'asks', 2, async ([asks, silent]) => {
            await lab.apply([HEADLESS, BY_NAME])
            try {
              await lab.must(['wait', '--for=condition=Ready', `clusternetworkpolicy/${NAMES}`, '--timeout=60s'])
              const connect = (pod: RunningPod, host: string) =>
                inPod(cluster, pod, 'connect', `${host}:8080`, '--timeout=2s')
              await assert.rejects(connect(asks!, told!.address), /TIMEOUT/, 'before it asked')
              await eventually(() => connect(asks!, `${NAMES}.default.svc.cluster.local`))
              await connect(asks!, told!.address)
              await assert.rejects(connect(asks!, silent!.address), /TIMEOUT/, 'an address of no name')
              await assert.rejects(connect(silent!, told!.address), /TIMEOUT/, 'a pod that never asked')
            } finally {
              await lab.must(['delete', `service/${NAMES}`, `clusternetworkpolicy/${NAMES}`])
            }
            return undefined
          }),
        ),
      )
    },
  },
]

const denyAll = (app: string) => ({
  ...{ apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy', metadata: { name: app } },
  spec: { podSelector: { matchLabels: { app } }, policyTypes: ['Ingress'] },
})

const ask = (from: RunningPod, to: RunningPod) =>
  fromPod(from, ['curl', '-sS', '--max-time', '1', `http://${to.address}:8080/hostname`])

/** What margayctl shows from a machine that is no node. */
async function deniedFlows({ lab }: Cluster): Promise<ShownFlow[]> {
  const words = ['flows', '--all', '--verdict', 'deny', '-o', 'json', '--count', '1000', '--kubeconfig', lab.kubeconfig]
  const argv = [process.execPath, join(root, 'ctl/main.ts'), ...words]
  const { code, stdout, stderr } = await runProgram(argv, { netns: lab.plan.api.netns })
  assert.equal(code, 0, stderr)
  return (JSON.parse(stdout) as { flows: ShownFlow[] }).flows
}

function isBetween(
  { node, source, destination, destinationPort }: ShownFlow,
  from: RunningPod,
  to: RunningPod,
): boolean {
  const ends = [source, destination].map(({ kind, namespace, name }) => `${kind} ${namespace}/${name}`)
  const wanted = [from, to].map(({ name }) => `Pod default/${name}`)
  return node === to.node && destinationPort === 8080 && ends.join() === wanted.join()
}

/** Its name leads to the pods themselves. */
const HEADLESS = {
  ...{ apiVersion: 'v1', kind: 'Service', metadata: { name: NAMES } },
  spec: { clusterIP: 'None', selector: { app: NAMES }, ports: [{ port: 8080 }] },
}

const BY_NAME = {
  ...{ apiVersion: `${GROUP}/v1alpha2`, kind: 'ClusterNetworkPolicy', metadata: { name: NAMES } },
  spec: {
    ...{ tier: 'Admin', priority: 10, subject: { pods: { podSelector: { matchLabels: { app: 'asks' } } } } },
    egress: [
      {
        ...{
          action: 'Accept',
          to: [{ namespaces: { matchLabels: { 'kubernetes.io/metadata.name': 'kube-system' } } }],
        },
        protocols: [{ udp: { destinationPort: { number: 53 } } }, { tcp: { destinationPort: { number: 53 } } }],
      },
      { action: 'Accept', to: [{ domainNames: [`${NAMES}.default.svc.cluster.local`] }] },
      { action: 'Deny', to: [{ networks: ['0.0.0.0/0'] }] },
    ],
  },
}

/** The kind as any API server takes it, where the cluster has it from nobody: what its fields mean is Margay's to read. */
const KIND = {
  ...{ apiVersion: 'apiextensions.k8s.io/v1', kind: 'CustomResourceDefinition' },
  metadata: {
    name: CRD,
    annotations: { 'api-approved.kubernetes.io': 'unapproved, for a test' },
  },
  spec: {
    ...{ group: GROUP, scope: 'Cluster' },
    names: { kind: 'ClusterNetworkPolicy', plural: 'clusternetworkpolicies', singular: 'clusternetworkpolicy' },
    versions: [
      {
        ...{ name: 'v1alpha2', served: true, storage: true, subresources: { status: {} } },
        schema: { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } },
      },
    ],
  },
}

async function withClusterPolicies<T>({ lab, margay }: Cluster, work: () => Promise<T>): Promise<T> {
  if ((await lab.get(`crd/${CRD}`)) !== undefined) return await work()
  await lab.apply([KIND])
  try {
    await lab.must(['wait', '--for=condition=Established', `crd/${CRD}`, '--timeout=30s'], { limitMs: 40_000 })
    // agents and controllers ask ever more rarely for a kind that is not served
    await Promise.all([margay.roll(), margay.rollControllers()])
    return await work()
  } finally {
    await lab.must(['delete', `crd/${CRD}`])
  }
}
