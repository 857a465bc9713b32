// A policy of Kubernetes in the lab: it stops whom it should on both paths, the node's own and the tunnel, lets all others pass,
// follows its changes, and is gone when it is deleted. Its status says which nodes enforce it, and `margayctl flows` names both ends of
// what is denied or logged.
import test from 'ava'
import type { Flow } from '../../api/answers.ts'
import { Lab, root } from '../../lab/lab.ts'
import { runProgram, until } from '../../lab/program.ts'
import { runHere } from '../ctl/run.ts'
import { sweepTestLabs, testLabOptions } from './temporary.ts'

const LIMIT_MS = 10_000

type PodOfLab = Lab['pods'][number]
type Policy = { podSelector: object; ingress: readonly object[] }

/** Lets all pods reach `n1-p1` but those that are named. */
const toOne = (refused: readonly string[]): Policy => ({
  podSelector: { matchLabels: { pod: 'n1-p1' } },
  ingress: [{ from: [{ podSelector: { matchExpressions: [{ key: 'pod', operator: 'NotIn', values: refused }] } }] }],
})

/** What a program of the lab's API server's side prints; `store` is there. */
async function atServer(lab: Lab, words: string): Promise<string> {
  const program = `
    import { openStore } from '${root}datastore/kube.ts'
    const store = openStore({ kubeconfig: '${lab.kubeconfig}' })
    ${words}
    await store.close()`
  const argv = [process.execPath, '--input-type=module', '--eval', program]
  const { code, stdout, stderr } = await runProgram(argv, { netns: lab.plan.api.netns, limitMs: 20_000 })
  if (code !== 0) throw new Error(stderr)
  return stdout
}

/** Makes, replaces or deletes a policy. */
async function setPolicy(lab: Lab, name: string, spec: Policy | undefined): Promise<void> {
  const object = { metadata: { name, namespace: 'default' }, spec }
  await atServer(
    lab,
    `const [kind, name, namespace] = ['KubernetesNetworkPolicy', '${name}', 'default']
    if (${spec === undefined}) await store.delete(kind, name, { namespace })
    else await store.patch(kind, name, ${JSON.stringify(object)}, { namespace, applyAs: 'test' })`,
  )
}

/** How many nodes enforce a policy, and which lag, as its status says. */
async function enforcedBy(lab: Lab, name: string): Promise<string> {
  const shown = await atServer(
    lab,
    `const [found] = (await store.list('PolicyStatus')).filter(({ metadata }) => metadata.name.endsWith('.${name}'))
    const { nodes, lagging = [] } = found?.status ?? {}
    console.log([nodes, ...lagging.map(({ node, reason }) => node + ' ' + reason)].join())`,
  )
  return shown.trim()
}

/** The pairs of pods of which the first does not get an answer of the second. */
async function stopped(lab: Lab): Promise<string[]> {
  const pairs = lab.pods.flatMap(from => lab.pods.filter(to => to !== from).map(to => ({ from, to })))
  const asked = pairs.map(async ({ from, to }) => {
    const argv = ['ping', '-c1', '-W1', to.address]
    const { code } = await runProgram(argv, { netns: from.pod.netns })
    return code === 0 ? [] : [`${from.pod.name} to ${to.pod.name}`]
  })
  return (await Promise.all(asked)).flat().sort()
}

/** Sends from a pod: so many datagrams, or one attempt of TCP, to port 8080. */
async function send(from: PodOfLab, to: PodOfLab, what: 'tcp' | { datagrams: number }): Promise<void> {
  const program =
    what === 'tcp'
      ? `const s = require('net').connect(8080, '${to.address}').on('error', () => {}); setTimeout(() => s.destroy(), 300)`
      : `const s = require('dgram').createSocket('udp4'); let left = ${what.datagrams}
         const next = () => left-- > 0 ? s.send('x', 8080, '${to.address}', next) : s.close(); next()`
  const argv = [process.execPath, '--eval', program]
  const { code, stderr } = await runProgram(argv, { netns: from.pod.netns, limitMs: 20_000 })
  if (code !== 0) throw new Error(stderr)
}

/** What `margayctl flows` shows on the node of a flow to port 8080. */
async function flowOf(lab: Lab, node: string, verdict: string, protocol: string): Promise<Flow | undefined> {
  const { out } = await runHere(['flows', '--verdict', verdict, '-o', 'json', '--socket', lab.agentSocket(node)])
  const { flows } = JSON.parse(out) as { flows: Flow[] }
  return flows.findLast(flow => flow.protocol === protocol && flow.destinationPort === 8080)
}

test('a NetworkPolicy stops whom it should on the same node and over the tunnel, lets others pass, and is gone when it is deleted; of three nodes the one whose agent stands still is named', async t => {
  if (process.geteuid?.() !== 0) {
    t.log('skipped: needs root, for network namespaces')
    t.pass()
    return
  }
  t.timeout(120_000)
  await sweepTestLabs()
  const usual = testLabOptions({ patience: 2 })
  await using lab = new Lab({ ...usual, nodes: [1, 2], prefix: `${usual.prefix}pol-`, dir: `${usual.dir}-pol` })
  await lab.start()
  lab.startControllers()
  await lab.reportPods()
  await lab.routesKnown()
  const becomes = async (wanted: readonly string[], what: string) => {
    let seen: string[] = []
    await until(
      async () => {
        seen = await stopped(lab)
        return seen.join() === wanted.join()
      },
      LIMIT_MS,
      100,
    )
    t.deepEqual(seen, wanted, what)
  }
  await becomes([], 'without a policy')
  await setPolicy(lab, 'to-n1-p1', toOne(['n1-p2', 'n2-p1']))
  await becomes(['n1-p2 to n1-p1', 'n2-p1 to n1-p1'], 'on both paths')
  const [ours, far] = ['n1-p1', 'n2-p1'].map(name => lab.pods.find(({ pod }) => pod.name === name)!) as [
    PodOfLab,
    PodOfLab,
  ]
  const ends = (from: string, to: string) => ({
    source: { kind: 'Pod', namespace: 'default', name: from },
    destination: { kind: 'Pod', namespace: 'default', name: to },
  })
  const isTold = async (node: string, verdict: string, protocol: string) => {
    let found: Flow | undefined
    const look = async () => {
      found = await flowOf(lab, node, verdict, protocol)
      return found !== undefined
    }
    await until(look, LIMIT_MS, 200)
    return found!
  }
  await send(far, ours, 'tcp')
  t.like(await isTold('n1', 'deny', 'tcp'), { ...ends('n2-p1', 'n1-p1'), direction: 'ingress', tier: 'default' })
  await send(far, ours, { datagrams: 3000 })
  const flood = await isTold('n1', 'deny', 'udp')
  t.true(flood.packets < 1000, `of 3000 packets ${flood.packets} were copied`)
  const audit = {
    order: 1,
    selector: "pod == 'n1-p1'",
    egress: [
      { action: 'Log', protocol: 'TCP', source: {}, destination: {} },
      { action: 'Allow', source: {}, destination: {} },
    ],
    types: ['Egress'],
  }
  await atServer(
    lab,
    `await store.create('GlobalNetworkPolicy', { metadata: { name: 'audit' }, spec: ${JSON.stringify(audit)} })`,
  )
  const isLogged = async () => {
    await send(ours, far, 'tcp')
    return (await flowOf(lab, 'n1', 'log', 'tcp')) !== undefined
  }
  await until(isLogged, LIMIT_MS, 200)
  t.like(await isTold('n1', 'log', 'tcp'), {
    ...ends('n1-p1', 'n2-p1'),
    ...{ direction: 'egress', policy: 'GlobalNetworkPolicy audit', tier: 'default', rule: 0 },
  })
  await atServer(lab, `await store.delete('GlobalNetworkPolicy', 'audit')`)
  await setPolicy(lab, 'to-n1-p1', toOne(['n2-p2']))
  await becomes(['n2-p2 to n1-p1'], 'another choice')
  await setPolicy(lab, 'to-n1-p1', undefined)
  await becomes([], 'deleted')

  const isSaid = async (name: string, wanted: string) => {
    let said = ''
    await until(
      async () => {
        said = await enforcedBy(lab, name)
        return said === wanted
      },
      3 * LIMIT_MS,
      500,
    )
    t.is(said, wanted, name)
  }
  const everybody: Policy = { podSelector: {}, ingress: [{}] }
  await setPolicy(lab, 'everywhere', everybody)
  await isSaid('everywhere', '3/3')
  lab.pauseAgent('n3', true)
  await setPolicy(lab, 'everywhere', { ...everybody, ingress: [{}, {}] })
  await isSaid('everywhere', '2/3,n3 Behind')
  lab.pauseAgent('n3', false)
  await isSaid('everywhere', '3/3')
})
