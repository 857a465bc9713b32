// `npm run lab -- --kubernetes`: a real Kubernetes with Margay as its network, shown to work: nodes Ready, pods of a
// Deployment on every node reach each other, their Service by its address and by its name.
import { netnsPath } from '../../kernel/netns.ts'
import { measurePairs } from '../measure.ts'
import { pairTable } from '../show.ts'
import { KubernetesLab, type KubernetesOptions } from './cluster.ts'
import { Margay, makeImage } from './margay.ts'
import { deployment, service } from './objects.ts'
import { type RunningPod, runningPods } from './pods.ts'

const APP = 'web'

export type Demonstration = KubernetesOptions & { keep: boolean; json: boolean; onLab: (lab: KubernetesLab) => void }

/** True when everything answered. The tables, or JSON, go to stdout. */
export async function demonstrateKubernetes(options: Demonstration): Promise<boolean> {
  const { say, keep, json } = options
  await using lab = new KubernetesLab(options)
  options.onLab(lab)
  const image = makeImage()
  // both fail alone, and the first failure is told
  await Promise.all([lab.start(), image])
  say('installing Margay')
  await new Margay(lab).install(image)
  await lab.must(['wait', '--for=condition=Ready', 'node', '--all', '--timeout=60s'])
  say('every node is Ready; starting a Deployment with two pods per node, and a Service')
  await lab.apply([deployment(APP, 2 * lab.plan.nodes.length), service(APP)])
  await lab.must(['rollout', 'status', `deployment/${APP}`, '--timeout=90s'], { limitMs: 100_000 })
  const pods = await runningPods(lab, APP)
  say('pinging every pair')
  const pairs = await measurePairs(lab.host, pods, { limitSeconds: 2, row: () => {} })
  say('asking for the Service by its address and by its name')
  const answers = await askService(lab, pods[0]!)
  const ok = pairs.every(({ ms }) => ms !== undefined) && answers.every(({ error }) => error === undefined)
  if (json) process.stdout.write(`${JSON.stringify({ ok, pairs, answers }, null, 2)}\n`)
  else {
    const lines = answers.map(({ what, error }) => `${what}: ${error ?? 'answers'}`)
    process.stdout.write(`\n${pairTable(pairs)}\n\n${lines.join('\n')}\n\n`)
  }
  if (keep) {
    lab.keep()
    process.stderr.write(`\nIt stays until you remove it. To look at it:\n${hints(lab)}\n`)
  } else say('removing everything')
  return ok
}

type Answer = { what: string; error?: string }

async function askService(lab: KubernetesLab, from: RunningPod): Promise<Answer[]> {
  const object = (await lab.get(`service/${APP}`)) as { spec: { clusterIP: string } }
  const targets = [`${object.spec.clusterIP}:80`, `${APP}.default.svc.cluster.local:80`]
  return await Promise.all(
    targets.map(async target => {
      const argv = ['exec', from.name, '--', '/agnhost', 'connect', target, '--timeout=5s']
      const { code, stdout, stderr } = await lab.kubectl(argv)
      return { what: target, ...(code === 0 ? {} : { error: (stderr.trim() || stdout.trim()).split('\n')[0] }) }
    }),
  )
}

function hints(lab: KubernetesLab): string {
  const node = lab.plan.nodes[0]!
  const enter = `nsenter --net=${netnsPath(lab.plan.api.netns)}`
  return [
    ['the cluster', `${enter} kubectl --kubeconfig ${lab.kubeconfig} get nodes,pods -A -o wide`],
    [`a shell on ${node.name}`, `nsenter --target ${lab.machine(node.name).init} --all bash`],
    ['logs', `ls ${lab.dir}/control ${lab.machine(node.name).dir}/log`],
    ['remove it', 'npm run lab -- down'],
  ]
    .map(([what, command]) => `  # ${what}\n  ${command}`)
    .join('\n')
}
