// `margayctl explain` on the real cluster: each case makes one thing so and expects the verdict, the code of the cause and whom it
// names. Where it must say that packets pass a packet is sent too, since chains of kube-proxy are on every node and are never read.
import assert from 'node:assert/strict'
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Explanation } from '../../api/explanation.ts'
import type { RunningPod } from '../../lab/kubernetes/pods.ts'
import type { Case, Cluster } from './case.ts'
import { explain, passes, stops } from './explain-asking.ts'
import { withHostEndpoint, withoutDns, withoutPool, withoutProxyRules, withTheAgentAway } from './explain-worlds.ts'
import { podOn, withPods } from './observe.ts'

const APP = 'explained'
const HTTP = 'tcp/8080'
const SERVICE = `svc/${APP}`

type Three = { near: RunningPod; next: RunningPod; far: RunningPod }
type Options = { short?: boolean; objects?: readonly object[] }

/** With a pod on each node: `near` and `next` on one LAN, `far` on another. */
function amongPods(
  title: string,
  { short = false, objects = [] }: Options,
  work: (cluster: Cluster, pods: Three) => Promise<string>,
): Case {
  return {
    title: `explain: ${title}`,
    short,
    run: cluster =>
      withPods(cluster, APP, 3, pods =>
        withObjects(cluster, objects, () =>
          work(cluster, { near: podOn(pods, 'n1'), next: podOn(pods, 'n2'), far: podOn(pods, 'n3') }),
        ),
      ),
  }
}

async function withObjects<T>({ lab }: Cluster, objects: readonly object[], work: () => Promise<T>): Promise<T> {
  if (objects.length === 0) return await work()
  try {
    await lab.apply(objects)
    return await work()
  } finally {
    // a tier goes after its policies
    const stdin = JSON.stringify({ apiVersion: 'v1', kind: 'List', items: objects.toReversed() })
    await lab.must(['delete', '--ignore-not-found', '-f', '-'], { stdin })
  }
}

const serviceOf = (spec: object) => ({
  ...{ apiVersion: 'v1', kind: 'Service', metadata: { name: APP } },
  spec: { selector: { app: APP }, ports: [{ port: 80, targetPort: 8080 }], ...spec },
})

const SELECTED = { podSelector: { matchLabels: { app: APP } } }

const kubernetesPolicy = (spec: object) => ({
  ...{ apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy', metadata: { name: APP } },
  spec: { ...SELECTED, ...spec },
})

const NO_INGRESS = kubernetesPolicy({ policyTypes: ['Ingress'] })

const calico = (kind: string, name: string, spec: object) => ({
  ...{ apiVersion: 'projectcalico.org/v3', kind, metadata: { name } },
  spec,
})

const selector = `app == '${APP}'`
const DENY = [{ action: 'Deny' }]

const denied = (kind: string, name: string, namespace?: string) =>
  ({ code: 'PolicyDenies', object: { kind, ...(namespace !== undefined && { namespace }), name } }) as const

const aService = (name = APP) => ({ kind: 'Service', namespace: 'default', name })

const reached: readonly Case[] = [
  {
    title: 'explain: a pod on the same node is reached',
    short: true,
    run: cluster =>
      withPods(cluster, APP, 2, ([a, b]) => passes(cluster, [a!.name, b!.name, HTTP, '--probe']), { node: 'n1' }),
  },
  amongPods('a pod on another node is reached', { short: true }, (cluster, { near, next }) =>
    passes(cluster, [near.name, next.name, HTTP, '--probe']),
  ),
  amongPods('a pod on another LAN is reached through its tunnel', { short: true }, (cluster, { near, far }) =>
    passes(cluster, [near.name, far.name, HTTP, '--probe']),
  ),
  amongPods('a pod with the network of its node is reached', {}, async (cluster, { near }) => {
    const which = [
      '-n',
      'kube-system',
      '-l',
      'app.kubernetes.io/name=margay-node',
      '--field-selector',
      'spec.nodeName=n3',
    ]
    const name = (await cluster.lab.must(['get', 'pods', ...which, '-o', 'name'])).trim()
    return await passes(cluster, [near.name, `pod/kube-system/${name.replace('pod/', '')}`, 'icmp', '--probe'])
  }),
  amongPods('a machine outside is reached from behind the address of the node', {}, (cluster, { near }) => {
    const { address, port } = cluster.lab.plan.api
    return passes(cluster, [near.name, address, `tcp/${port}`, '--probe'])
  }),
  amongPods('a name outside leads to the address that the resolver here has', {}, async (cluster, { far }) => {
    const { lab } = cluster
    const file = join(lab.shared, 'hosts')
    writeFileSync(file, `${lab.plan.api.address} outside.example\n`)
    try {
      return await passes(cluster, [far.name, 'outside.example', `tcp/${lab.plan.api.port}`, '--probe'], file)
    } finally {
      rmSync(file)
    }
  }),
]

const services: readonly Case[] = [
  amongPods(
    'the pods of a Service are reached by its address, which kube-proxy translates',
    { short: true, objects: [serviceOf({})] },
    async (cluster, { near }) => {
      const { spec } = (await cluster.lab.get(`service/${APP}`)) as { spec: { clusterIP: string } }
      return await passes(cluster, [near.name, spec.clusterIP, 'tcp/80', '--probe'])
    },
  ),
  amongPods(
    'the name of a Service in the cluster’s DNS leads to its pods',
    { objects: [serviceOf({})] },
    (cluster, { near }) => passes(cluster, [near.name, `${APP}.default.svc.cluster.local:80`, '--probe']),
  ),
  amongPods(
    'the name of a headless Service leads to its pods',
    { objects: [serviceOf({ clusterIP: 'None' })] },
    (cluster, { far }) => passes(cluster, [far.name, `${APP}.default.svc`, '--probe']),
  ),
  amongPods(
    'the pods of a Service are reached by its port of a node and by an external address of it',
    { objects: [serviceOf({ type: 'NodePort', externalIPs: ['198.51.100.77'] })] },
    async (cluster, { near }) => {
      const { spec } = (await cluster.lab.get(`service/${APP}`)) as { spec: { ports: { nodePort: number }[] } }
      const asked = ['node/n1', `tcp/${spec.ports[0]!.nodePort}`, '--probe']
      const other = await passes(cluster, ['node/n2', ...asked])
      return `${await passes(cluster, [near.name, ...asked])}; ${other}; ${await passes(cluster, ['node/n1', '198.51.100.77', 'tcp/80', '--probe'])}`
    },
  ),
  amongPods(
    'a Service of which no pod is ready is named, by its own address, as a headless one and by its port of a node',
    {
      short: true,
      objects: [
        serviceOf({ type: 'NodePort', selector: { app: 'nobody' } }),
        { ...serviceOf({ clusterIP: 'None', selector: { app: 'nobody' } }), metadata: { name: `${APP}-headless` } },
      ],
    },
    async (cluster, { near }) => {
      const { spec } = (await cluster.lab.get(`service/${APP}`)) as { spec: { ports: { nodePort: number }[] } }
      const want = { code: 'ServiceNoEndpoints', object: aService() } as const
      const headless = { ...want, object: aService(`${APP}-headless`) }
      await stops(cluster, [near.name, `node/n2`, `tcp/${spec.ports[0]!.nodePort}`], want)
      await stops(cluster, [near.name, `${SERVICE}-headless`], headless)
      return await stops(cluster, [near.name, SERVICE], want)
    },
  ),
  amongPods(
    'a Service that leads to a port on which no pod of it listens: each pod is named, also the one that asks',
    { objects: [serviceOf({ ports: [{ port: 80, targetPort: 9999 }] })] },
    async (cluster, { near, next, far }) => {
      const { said, took } = await explain(cluster, [near.name, SERVICE, '--probe'])
      const { alternatives, ...worst } = said as Explanation & { alternatives: Explanation[] }
      assert.deepEqual(
        [worst, ...alternatives]
          .map(({ first }) => `${first?.code} ${first?.object?.kind} ${first?.object?.name}`)
          .sort(),
        [near, next, far].map(({ name }) => `NoListener Pod ${name}`).sort(),
      )
      return `NoListener, ${took.toFixed(1)} s`
    },
  ),
  amongPods(
    'rules of kube-proxy that are gone: the Service is named whose address nobody translates',
    { objects: [serviceOf({})] },
    (cluster, { near }) =>
      withoutProxyRules(cluster, 'n1', () =>
        stops(cluster, [near.name, SERVICE, '--probe'], { code: 'ServiceNotProgrammed', object: aService() }),
      ),
  ),
  amongPods('the cluster’s DNS without a pod: its Service is named', {}, (cluster, { near }) =>
    withoutDns(cluster, () =>
      stops(cluster, [near.name, 'svc/kube-system/kube-dns', 'udp/53'], {
        code: 'ServiceNoEndpoints',
        object: { kind: 'Service', namespace: 'kube-system', name: 'kube-dns' },
      }),
    ),
  ),
]

const policies: readonly Case[] = [
  amongPods(
    'a NetworkPolicy that lets its pods send nothing is named',
    { objects: [kubernetesPolicy({ policyTypes: ['Egress'] })] },
    (cluster, { near, far }) =>
      stops(cluster, [near.name, far.name, HTTP], denied('KubernetesNetworkPolicy', APP, 'default')),
  ),
  amongPods(
    'a NetworkPolicy that lets nobody to its pods is named, by the node of the pod that is asked',
    { short: true, objects: [NO_INGRESS] },
    (cluster, { near, next }) =>
      stops(cluster, [near.name, next.name, HTTP], denied('KubernetesNetworkPolicy', APP, 'default')),
  ),
  amongPods(
    'a tier that passes, and one after it that denies: the policy of the second is named',
    {
      objects: [
        calico('Tier', 'first', { order: 100 }),
        calico('Tier', 'second', { order: 200 }),
        calico('GlobalNetworkPolicy', 'first.on', { tier: 'first', selector, ingress: [{ action: 'Pass' }] }),
        calico('GlobalNetworkPolicy', 'second.off', { tier: 'second', selector, ingress: DENY }),
      ],
    },
    (cluster, { near, far }) =>
      stops(cluster, [near.name, far.name, HTTP], denied('GlobalNetworkPolicy', 'second.off')),
  ),
  amongPods(
    'a staged policy that would deny does not count',
    { objects: [calico('StagedGlobalNetworkPolicy', 'default.staged', { selector, ingress: DENY, egress: DENY })] },
    (cluster, { near, far }) => passes(cluster, [near.name, far.name, HTTP, '--probe']),
  ),
  amongPods(
    'a policy of an interface of a node that denies what is forwarded is named',
    {},
    (cluster, { near, next }) =>
      withHostEndpoint(cluster, 'n2', [{ action: 'Deny', protocol: 'TCP', destination: { ports: [8080] } }], name =>
        stops(cluster, [near.name, next.name, HTTP], {
          code: 'HostPolicyDenies',
          object: { kind: 'GlobalNetworkPolicy', name },
        }),
      ),
  ),
  amongPods(
    'what a policy would deny is said before it is applied, and nothing is written',
    {},
    async (cluster, { near, far }) => {
      const file = join(cluster.lab.shared, 'policy.json')
      writeFileSync(file, JSON.stringify(NO_INGRESS))
      try {
        const { code, said, took } = await explain(cluster, [near.name, far.name, HTTP, '--policy', file])
        assert.equal(code, 1)
        const { changed } = said as { changed: { before: { action: string }; after: { action: string; by: string } }[] }
        assert.deepEqual(
          changed.map(({ before, after }) => [before.action, after.action]),
          [['allow', 'deny']],
        )
        const written = (await cluster.lab.get('networkpolicies.networking.k8s.io')) as { items: unknown[] }
        assert.deepEqual(written.items, [])
        return `would be denied, ${took.toFixed(1)} s`
      } finally {
        rmSync(file)
      }
    },
  ),
]

const nodes: readonly Case[] = [
  {
    title: 'explain: a node whose agent was killed: pods there get no network, and those that run are reached',
    short: false,
    run: cluster =>
      withPods(cluster, APP, 3, pods =>
        withTheAgentAway(cluster, 'n2', async () => {
          const [near, far] = [podOn(pods, 'n1'), podOn(pods, 'n2')]
          const said = await stops(cluster, ['n2'], { code: 'AgentSilent', object: { kind: 'Node', name: 'n2' } })
          return `${said}; ${await passes(cluster, [near.name, far.name, HTTP, '--probe'])}`
        }),
      ),
  },
  {
    title: 'explain: a node for which the only pool was switched off: new pods there get no network',
    short: false,
    run: cluster =>
      withoutPool(cluster, () =>
        stops(cluster, ['n1'], { code: 'PoolUnusable', object: { kind: 'Node', name: 'n1' } }),
      ),
  },
]

export const explainCases: readonly Case[] = [...reached, ...services, ...policies, ...nodes]
