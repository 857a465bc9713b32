// A policy of Kubernetes in the lab: it stops whom it should on both paths, the node's own and the tunnel, lets all others pass,
// follows its changes, and is gone when it is deleted.
import test from 'ava'
import { Lab, root } from '../../lab/lab.ts'
import { runProgram, until } from '../../lab/program.ts'
import { sweepTestLabs, testLabOptions } from './temporary.ts'

const LIMIT_MS = 10_000

/** Makes, replaces or deletes the one policy of the test: lets all pods reach `n1-p1` but those that are named. */
async function setPolicy(lab: Lab, refused: readonly string[] | undefined): Promise<void> {
  const object = {
    metadata: { name: 'to-n1-p1', namespace: 'default' },
    spec: {
      podSelector: { matchLabels: { pod: 'n1-p1' } },
      ingress: [
        { from: [{ podSelector: { matchExpressions: [{ key: 'pod', operator: 'NotIn', values: refused }] } }] },
      ],
    },
  }
  const program = `
    import { openStore } from '${root}datastore/kube.ts'
    const store = openStore({ kubeconfig: '${lab.kubeconfig}' })
    const [kind, object] = ['KubernetesNetworkPolicy', ${JSON.stringify(object)}]
    const { name, namespace } = object.metadata
    if (${refused === undefined}) await store.delete(kind, name, { namespace })
    else await store.patch(kind, name, object, { namespace, applyAs: 'test' })
    await store.close()`
  const argv = [process.execPath, '--input-type=module', '--eval', program]
  const { code, stderr } = await runProgram(argv, { netns: lab.plan.api.netns, limitMs: 20_000 })
  if (code !== 0) throw new Error(stderr)
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

test('a NetworkPolicy stops whom it should on the same node and over the tunnel, lets others pass, and is gone when it is deleted', async t => {
  if (process.geteuid?.() !== 0) {
    t.log('skipped: needs root, for network namespaces')
    t.pass()
    return
  }
  t.timeout(120_000)
  await sweepTestLabs()
  const usual = testLabOptions({ patience: 2 })
  await using lab = new Lab({ ...usual, nodes: [1, 1], prefix: `${usual.prefix}pol-`, dir: `${usual.dir}-pol` })
  await lab.start()
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
  await setPolicy(lab, ['n1-p2', 'n2-p1'])
  await becomes(['n1-p2 to n1-p1', 'n2-p1 to n1-p1'], 'on both paths')
  await setPolicy(lab, ['n2-p2'])
  await becomes(['n2-p2 to n1-p1'], 'another choice')
  await setPolicy(lab, undefined)
  await becomes([], 'deleted')
})
