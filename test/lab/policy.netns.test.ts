// A policy of Kubernetes in the lab: it stops whom it should on both paths, the node's own and the tunnel, lets all others pass,
// follows its changes, and is gone when it is deleted. Its status says which nodes enforce it.
import test from 'ava'
import { Lab, root } from '../../lab/lab.ts'
import { runProgram, until } from '../../lab/program.ts'
import { sweepTestLabs, testLabOptions } from './temporary.ts'

const LIMIT_MS = 10_000

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
