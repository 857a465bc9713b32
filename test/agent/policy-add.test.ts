// ADD and the policies of the pod, over a whole agent: it answers when they are in the kernel, and not before.
import test, { type ExecutionContext } from 'ava'
import { handleCni } from '../../cni/handle.ts'
import { ERRNO, KernelError } from '../../kernel/port/error.ts'
import type { NftChange } from '../../kernel/port/nftables.ts'
import { aResource } from '../datastore/objects.ts'
import { aCluster, eventually, startAgent } from './machines.ts'

const TABLE = 'margay-policy'
const isChainOf = ({ verb, object }: NftChange) =>
  verb === 'add' && object.kind === 'rule' && object.table === TABLE && object.comment?.includes('only-a') === true

/**
 * An agent of a node with one policy, on a kernel that asks `before` each transaction whether it refuses a change, tells `after`
 * what it did, and loses what `isLost` although it says yes.
 */
async function aNode(t: ExecutionContext) {
  const { store, network, machines } = await aCluster(t)
  await store.create('Namespace', aResource('Namespace', { metadata: { name: 'default' } }))
  const metadata = { name: 'only-a', namespace: 'default' }
  const spec = { podSelector: {}, ingress: [{ from: [{ podSelector: { matchLabels: { app: 'a' } } }] }] }
  await store.create('KubernetesNetworkPolicy', aResource('KubernetesNetworkPolicy', { metadata, spec }))
  await store.create(
    'Pod',
    aResource('Pod', { metadata: { name: 'p', namespace: 'default' }, spec: { nodeName: 'n1' } }),
  )
  const it = {
    before: async (_: readonly NftChange[]): Promise<number> => -1,
    after: async (_: readonly NftChange[]): Promise<void> => {},
    isLost: (_: NftChange): boolean => false,
  }
  const kernel = machines[0].world.kernel()
  const changeNftables: typeof kernel.changeNftables = async (changes, options) => {
    const index = await it.before(changes)
    if (index < 0) {
      const refusals = await kernel.changeNftables(
        changes.filter(change => !it.isLost(change)),
        options,
      )
      await it.after(changes)
      return refusals
    }
    return [{ index, error: new KernelError(ERRNO.ENOMEM, 'add', 'rule', 'no room') }]
  }
  const watched = new Proxy(kernel, {
    get: (target, name) => (name === 'changeNftables' ? changeNftables : Reflect.get(target, name).bind(target)),
  })
  const agent = await startAgent(t, machines[0], store, network, undefined, { kernel: watched })
  await eventually(
    t,
    'ready',
    () => agent.ready(),
    ready => ready,
  )
  const call = (command: 'ADD' | 'DEL') => {
    const env = {
      ...{ CNI_COMMAND: command, CNI_CONTAINERID: 'c0', CNI_NETNS: '/run/netns/c0', CNI_IFNAME: 'eth0' },
      ...{ CNI_PATH: '/opt/cni/bin', CNI_ARGS: 'K8S_POD_NAMESPACE=default;K8S_POD_NAME=p' },
    }
    return handleCni({ env, stdin: JSON.stringify({ cniVersion: '1.1.0', name: 'net', type: 'margay' }) }, agent.cni())
  }
  /** What the kernel has of the policies of interfaces: the maps that lead to rules, and how many rules those are. */
  const stands = async () => {
    const { elements = [], rules = [] } = (await kernel.nftables({ family: 'inet', name: TABLE })) ?? {}
    const led = elements.filter(({ set }) => set === 'to_pod' || set === 'from_pod')
    return {
      led: led.flatMap(each => each.elements.flatMap(({ key }) => key)),
      rules: rules.filter(({ comment }) => comment?.includes('only-a')).length,
    }
  }
  return Object.assign(it, { agent, call, stands, stranger: machines[0].world.kernel() })
}

test('while the kernel takes its time with the rules of a pod ADD does not answer, then they stand, and DEL takes them away', async t => {
  const node = await aNode(t)
  const gate = Promise.withResolvers<void>()
  const reached = Promise.withResolvers<void>()
  node.before = async changes => {
    if (changes.some(isChainOf)) {
      reached.resolve()
      await gate.promise
    }
    return -1
  }
  let isAnswered = false
  const adding = node.call('ADD').finally(() => {
    isAnswered = true
  })
  await reached.promise
  for (let turn = 0; turn < 200; turn++) await new Promise(setImmediate)
  t.false(isAnswered)
  t.deepEqual(await node.stands(), { led: [], rules: 0 })
  gate.resolve()
  const added = await adding
  t.is(added.exitCode, 0, added.stdout)
  const { led, rules } = await node.stands()
  t.is(led.length, 2, 'for packets from it, and to it')
  t.true(rules > 0)
  t.is((await node.call('DEL')).exitCode, 0)
  await eventually(t, 'gone', node.stands, stands => stands.led.length + stands.rules === 0)
})

test('where the kernel refuses the rules of a pod ADD is refused with what to look at, leaves nothing, and works once it takes them', async t => {
  const node = await aNode(t)
  node.before = async changes => changes.findIndex(isChainOf)
  const refused = await node.call('ADD')
  t.is(refused.exitCode, 1)
  const { msg, details } = JSON.parse(refused.stdout)
  t.regex(msg, /^the host side of cali\w+ is refused: the kernel has not taken the policies of cali\w+/)
  t.regex(details, /margayctl node status/)
  t.is(node.agent.endpoints.live().length, 0)
  await eventually(t, 'nothing leads to rules', node.stands, ({ led }) => led.length === 0)
  node.before = async () => -1
  const added = await node.call('ADD')
  t.is(added.exitCode, 0, added.stdout)
  t.is((await node.stands()).led.length, 2)
})

const LOST: readonly [what: string, isLost: (change: NftChange) => boolean, said: RegExp][] = [
  [
    'a rule',
    isChainOf,
    /rule 2 of inet margay-policy \S+ "KubernetesNetworkPolicy default\/only-a ingress 0 allow" is missing in the kernel$/,
  ],
  [
    'what leads to the rules',
    ({ object }) => object.kind === 'elements' && object.table === TABLE && object.set === 'to_pod',
    /element inet margay-policy to_pod \{ cali\w+ \} is missing in the kernel$/,
  ],
]
for (const [what, isLost, said] of LOST)
  test(`ADD reads the rules of its pod back: where a kernel says yes and does not have ${what} it is named, and nothing is left`, async t => {
    const node = await aNode(t)
    node.isLost = isLost
    const refused = await node.call('ADD')
    t.is(refused.exitCode, 1)
    const { msg } = JSON.parse(refused.stdout)
    t.regex(msg, /^the host side of cali\w+ is refused: of the policies of cali\w+, /)
    t.regex(msg, said)
    t.is(node.agent.endpoints.live().length, 0)
  })

test('rules of a pod that another program takes away before ADD has answered stand again when it answers', async t => {
  const node = await aNode(t)
  let flushed = 0
  node.after = async changes => {
    const chain = changes.find(isChainOf)?.object
    if (chain?.kind !== 'rule' || flushed++ > 0) return
    const { family, table } = chain
    await node.stranger.changeNftables([{ verb: 'flush', object: { kind: 'chain', family, table, name: chain.chain } }])
  }
  const added = await node.call('ADD')
  t.is(added.exitCode, 0, added.stdout)
  t.is(flushed, 2, 'written, taken away, written again')
  t.true((await node.stands()).rules > 0)
})
