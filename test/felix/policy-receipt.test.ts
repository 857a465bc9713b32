// What felix says of policies, on a kernel in memory: what was told counts once a pass has brought it there, and what the kernel
// refuses is told with the policies that need it.
import test from 'ava'
import { PolicyDigest } from '../../api/policy-receipts.ts'
import { PolicyEnforcer } from '../../felix/enforcer.ts'
import type { Policy, PolicyRule } from '../../felix/policy/model.ts'
import { FakeWorld } from '../../kernel/fake/world.ts'
import { KernelError } from '../../kernel/port/error.ts'
import type { Kernel } from '../../kernel/port/kernel.ts'
import type { NftChange } from '../../kernel/port/nftables.ts'

const TABLE = { table: 'margay-policy', interfacePrefix: 'cali' }
const A = '00000000000000aa'
const B = '00000000000000bb'
const id = (name: string) => `KubernetesNetworkPolicy ns/${name}`
const allow = (...nets: string[]): PolicyRule => ({ action: 'allow', source: { nets }, destination: {} })

function aPolicy(name: string, app: string, rule = allow('10.0.0.0/8')): Policy {
  return {
    ...{ ref: { kind: 'KubernetesNetworkPolicy', namespace: 'ns', name }, tier: 'default', order: 1, sortName: name },
    ...{ selector: `app == "${app}"`, ingress: [rule], hostStage: 'normal' },
  }
}

function digestOf(...revisions: string[]): string {
  const digest = new PolicyDigest()
  for (const revision of revisions) digest.toggle(revision)
  return digest.text
}

/** An enforcer with a pod `web` and one `db` of this node, on a kernel that refuses what `refuses` names. */
function anEnforcer() {
  const kernel = new FakeWorld().kernel()
  const it = { refuses: (_: NftChange) => false, during: () => {} }
  const port = {
    nftables: (table: Parameters<Kernel['nftables']>[0]) => kernel.nftables(table),
    nftGeneration: () => kernel.nftGeneration(),
    ruleCounters: (of: Parameters<Kernel['ruleCounters']>[0]) => kernel.ruleCounters(of),
    links: () => kernel.links(),
    addresses: () => kernel.addresses(),
    changeNftables: async (changes: readonly NftChange[]) => {
      it.during()
      const index = changes.findIndex(it.refuses)
      if (index >= 0) return [{ index, error: new KernelError(28, 'add', 'rule', 'no room') }]
      return kernel.changeNftables(changes)
    },
  } as Kernel
  const enforcer = new PolicyEnforcer(port, TABLE)
  for (const [i, app] of ['web', 'db'].entries()) {
    const endpoint = { kind: 'pod', labels: { app }, addresses: [`10.0.0.${i + 1}`], ports: [] } as const
    enforcer.set('endpoint', `ns/${app}`, endpoint)
    enforcer.setLocal(`ns/${app}`, { interfaceName: `cali${i}`, profiles: [] })
  }
  const tell = (name: string, policy: Policy | undefined, revision: string | undefined) => {
    enforcer.set('policy', id(name), policy)
    enforcer.setRevision('KubernetesNetworkPolicy', id(name), revision)
  }
  const worked = () => enforcer.receipt()?.worked['KubernetesNetworkPolicy']
  const asked = () =>
    enforcer.receipt()?.asked.map(({ policy, revision, failure }) => [policy, revision, failure?.reason])
  return Object.assign(it, { kernel, enforcer, tell, worked, asked })
}

test('what was told counts when a pass has ended that began after it, and nothing is said while one is under way', async t => {
  const { enforcer, tell, worked, asked } = anEnforcer()
  t.is(enforcer.receipt(), undefined)
  tell('a', aPolicy('a', 'web'), A)
  await enforcer.put()
  t.is(worked(), digestOf(A))
  t.deepEqual(asked(), [[id('a'), A, undefined]])
  t.true(enforcer.takeNews())
  await enforcer.put()
  t.false(enforcer.takeNews())
})

test('what is told while a pass is under way counts after the next one', async t => {
  const node = anEnforcer()
  node.tell('a', aPolicy('a', 'web'), A)
  let saw: unknown = 'nothing'
  node.during = () => {
    node.during = () => {}
    node.tell('b', aPolicy('b', 'db'), B)
    saw = node.enforcer.receipt()
  }
  await node.enforcer.put()
  t.is(saw, undefined)
  t.is(node.worked(), digestOf(A))
  t.deepEqual(node.asked(), [[id('a'), A, undefined]])
  await node.enforcer.put()
  t.is(node.worked(), digestOf(A, B))
  t.deepEqual(node.asked(), [
    [id('a'), A, undefined],
    [id('b'), B, undefined],
  ])
})

test('a policy that no pod of this node asks is worked through and not named, and one that goes is neither', async t => {
  const { enforcer, tell, worked, asked } = anEnforcer()
  tell('a', aPolicy('a', 'elsewhere'), A)
  tell('b', aPolicy('b', 'web'), B)
  await enforcer.put()
  t.is(worked(), digestOf(A, B))
  t.deepEqual(asked(), [[id('b'), B, undefined]])
  tell('b', undefined, undefined)
  await enforcer.put()
  t.is(worked(), digestOf(A))
  t.deepEqual(asked(), [])
})

test('a chain that the kernel refuses makes the policies of that list fail, and no others, until it takes it', async t => {
  const node = anEnforcer()
  node.tell('a', aPolicy('a', 'web'), A)
  node.tell('b', aPolicy('b', 'db'), B)
  node.refuses = ({ object }) => object.kind === 'rule' && JSON.stringify(object).includes('ns/a ')
  await node.enforcer.put()
  t.is(node.worked(), digestOf(A, B))
  t.deepEqual(node.asked(), [
    [id('a'), A, 'Refused'],
    [id('b'), B, undefined],
  ])
  t.true(node.enforcer.takeNews())
  node.refuses = () => false
  await node.enforcer.put()
  t.deepEqual(node.asked(), [
    [id('a'), A, undefined],
    [id('b'), B, undefined],
  ])
  t.true(node.enforcer.takeNews())
})

test('a policy of an interface of the host is asked too, and fails where the kernel does not lead the interface to it', async t => {
  const node = anEnforcer()
  await node.kernel.createLink({ kind: 'veth', name: 'eth0', peer: { name: 'eth1' } })
  const labels = { role: 'gate' }
  node.enforcer.set('endpoint', 'n1-eth0', { kind: 'host', labels, addresses: ['192.0.2.1'], ports: [] })
  node.enforcer.setHost('n1-eth0', { interfaceName: 'eth0', addresses: [], profiles: [] })
  const tunnels = { ipip: false, vxlan: false, vxlanPort: 4789 }
  node.enforcer.setHostRules({ inbound: [], outbound: [], podsToHost: 'drop' }, tunnels)
  node.tell('a', { ...aPolicy('a', ''), selector: 'role == "gate"' }, A)
  node.refuses = ({ object }) => JSON.stringify(object).includes('"eth0"')
  await node.enforcer.put()
  t.deepEqual(node.asked(), [[id('a'), A, 'Refused']])
  node.refuses = () => false
  await node.enforcer.put()
  t.deepEqual(node.asked(), [[id('a'), A, undefined]])
})

test('a version of Pods counts when a pass has ended that began after it and removed what was too much, and not while the kernel refuses that', async t => {
  const node = anEnforcer()
  const { enforcer } = node
  const pods = () => enforcer.pods
  const from: PolicyRule = { action: 'allow', source: { selector: 'app == "far"' }, destination: {} }
  node.tell('a', aPolicy('a', 'web', from), A)
  for (const i of [8, 9]) {
    const far = { kind: 'pod', labels: { app: 'far' }, addresses: [`10.0.9.${i}`], ports: [] } as const
    enforcer.set('endpoint', `ns/far${i}`, far)
  }
  enforcer.setPodsVersion('10')
  await enforcer.put()
  t.is(pods(), undefined)
  await enforcer.remove()
  t.is(pods(), '10')

  enforcer.set('endpoint', 'ns/far8', undefined)
  enforcer.setPodsVersion('11')
  await enforcer.put()
  enforcer.setPodsVersion('12')
  t.is(pods(), '10', 'the address is still in its set')
  await enforcer.remove()
  t.is(pods(), '11', 'what was told since may not be there')

  enforcer.set('endpoint', 'ns/far9', undefined)
  node.refuses = ({ verb, object }) => verb === 'delete' && object.kind === 'elements'
  for (let i = 0; i < 3; i++) {
    await enforcer.put()
    await enforcer.remove()
    t.is(pods(), '11')
  }
  node.refuses = () => false
  for (let i = 0; i < 2; i++) {
    await enforcer.put()
    await enforcer.remove()
  }
  t.is(pods(), '12')
})
