// What becomes of pods whose rules the kernel does not take.
import test from 'ava'
import { PolicyEnforcer } from '../../felix/enforcer.ts'
import { LABEL, type Policy, type PolicyRule } from '../../felix/policy/model.ts'
import { FakeWorld } from '../../kernel/fake/world.ts'
import { ERRNO, KernelError } from '../../kernel/port/error.ts'
import type { Kernel } from '../../kernel/port/kernel.ts'

const NAME = { family: 'inet', name: 'margay-policy' } as const
const ALLOW: PolicyRule = { action: 'allow', source: {}, destination: {} }

/** The call of this method with this number, from 0, fails, before or after it is done. */
type Fault = { method: 'changeNftables' | 'nftables'; errno: number; isDone: boolean; at: number }

/** A node with two pods, `web` on cali1 and `db` on cali2, whose kernel takes no rule of policies that are called so. */
function aNode() {
  const kernel = new FakeWorld().kernel()
  const poison = { word: 'nothing' }
  const changeNftables: Kernel['changeNftables'] = async (changes, options) => {
    const index = changes.findIndex(
      ({ verb, object }) => verb === 'add' && object.kind === 'rule' && object.comment?.includes(poison.word) === true,
    )
    const error = new KernelError(ERRNO.ENOMEM, 'add rule', poison.word)
    return index < 0 ? kernel.changeNftables(changes, options) : [{ index, error }]
  }
  let fault: Fault | undefined
  const calls: string[] = []
  const refusing = new Proxy(kernel, {
    get(target, name) {
      const method = name === 'changeNftables' ? changeNftables : Reflect.get(target, name).bind(target)
      return async (...args: never[]) => {
        calls.push(String(name))
        if (fault?.method !== name || fault.at-- !== 0) return method(...args)
        if (fault.isDone) await method(...args)
        throw new KernelError(fault.errno, 'ask', 'netlink')
      }
    },
  })
  const fail = (of: Fault) => {
    fault = { ...of }
  }
  const enforcer = new PolicyEnforcer(refusing, { table: NAME.name, interfacePrefix: 'cali' })
  enforcer.set('tier', 'default', { name: 'default', order: 1, defaultAction: 'deny' })
  enforcer.set('profile', 'p', { ingress: [ALLOW], egress: [ALLOW] })
  for (const [i, app] of ['web', 'db'].entries()) {
    const labels = { app, [LABEL.orchestrator]: 'k8s', [LABEL.namespace]: 'x' }
    enforcer.set('endpoint', `x/${app}`, { kind: 'pod', labels, addresses: [`10.0.0.${i + 1}`], ports: [] })
    enforcer.setLocal(`x/${app}`, { interfaceName: `cali${i + 1}`, profiles: ['p'] })
  }
  const pass = async () => {
    const outcomes = [await enforcer.put(), await enforcer.remove()]
    return outcomes.flatMap(({ refused }) => refused.map(({ kind, key }) => `${kind} ${key}`))
  }
  /** The interfaces that are led to some chain for what they are sent, as the kernel has it. */
  const led = async () => {
    const { elements = [] } = (await kernel.nftables(NAME)) ?? {}
    return elements
      .filter(({ set }) => set === 'to_pod')
      .flatMap(each => each.elements.flatMap(({ key }) => key))
      .sort()
  }
  return { enforcer, kernel, poison, pass, led, fail, calls }
}

function aPolicy(name: string, rules: readonly PolicyRule[]): Policy {
  return {
    ...{ ref: { kind: 'NetworkPolicy', namespace: 'x', name }, tier: 'default', order: 1 },
    ...{ sortName: name, selector: "app == 'web'", hostStage: 'normal', ingress: rules },
  }
}

test('a pod whose new rules the kernel refuses is closed, not left under the old ones, and no other pod is', async t => {
  const { enforcer, poison, pass, led } = aNode()
  t.deepEqual(await pass(), [])
  t.deepEqual(await led(), ['cali1', 'cali2'])

  poison.word = 'bad'
  enforcer.set('policy', 'bad', aPolicy('bad', [{ ...ALLOW, protocol: 6 }]))
  t.true((await pass()).some(each => each.startsWith('nftChain inet margay-policy to-')))
  t.deepEqual(await led(), ['cali2'])
  t.false(enforcer.judges('cali1'))
  t.true(enforcer.judges('cali2'))
  t.true((await pass()).length > 0)
  t.deepEqual(await led(), ['cali2'], 'and stays so while it is refused')

  poison.word = 'nothing'
  t.deepEqual(await pass(), [])
  t.deepEqual(await led(), ['cali1', 'cali2'])
  t.true(enforcer.judges('cali1'))
})

test('rules that change in place and are refused close the pod too, until the kernel takes them or they go', async t => {
  const { enforcer, poison, pass, led } = aNode()
  enforcer.set('policy', 'web', aPolicy('web', [{ ...ALLOW, protocol: 6 }]))
  t.deepEqual(await pass(), [])
  poison.word = 'ingress 1'
  enforcer.set('policy', 'web', aPolicy('web', [ALLOW, ALLOW]))
  t.true((await pass()).length > 0)
  t.deepEqual(await led(), ['cali2'])
  await pass()
  t.deepEqual(await led(), ['cali2'], 'what stands there is the old list')
  enforcer.set('policy', 'web', aPolicy('web', [{ ...ALLOW, protocol: 17 }]))
  t.deepEqual(await pass(), [])
  t.deepEqual(await led(), ['cali1', 'cali2'])
})

test('a pod that goes while it is closed does not come back', async t => {
  const { enforcer, poison, pass, led } = aNode()
  await pass()
  poison.word = 'bad'
  enforcer.set('policy', 'bad', aPolicy('bad', [ALLOW]))
  await pass()
  enforcer.setLocal('x/web', undefined)
  poison.word = 'nothing'
  t.deepEqual(await pass(), [])
  t.deepEqual(await led(), ['cali2'])
})

test('whether answers are lost, a write or a reading is interrupted: the next attempt finds out, and no pod is open meanwhile', async t => {
  const faults = [
    { method: 'changeNftables', errno: ERRNO.ENOBUFS, isDone: true },
    { method: 'changeNftables', errno: ERRNO.ENOBUFS, isDone: false },
    { method: 'changeNftables', errno: ERRNO.EINTR, isDone: false },
    { method: 'nftables', errno: ERRNO.EINTR, isDone: false },
  ] as const
  for (const fault of faults)
    for (let at = 0; at < 4; at++) {
      const { enforcer, pass, led, fail } = aNode()
      await pass()
      enforcer.set('policy', 'web', aPolicy('web', [{ ...ALLOW, protocol: 6 }]))
      enforcer.invalidate()
      fail({ ...fault, at })
      for (let i = 0; i < 3; i++) {
        await pass()
        t.deepEqual(await led(), ['cali1', 'cali2'], JSON.stringify({ ...fault, at }))
      }
      t.deepEqual(await pass(), [])
      t.true(enforcer.judges('cali1'))
    }
})

test('whoever asks what rules counted while others wait for it gets the same reading', async t => {
  const { enforcer, pass, calls } = aNode()
  await pass()
  const counts = await Promise.all([enforcer.ruleCounts(), enforcer.ruleCounts(), enforcer.ruleCounts()])
  t.is(calls.filter(name => name === 'ruleCounters').length, 1)
  t.true(counts[0]!.byText().size > 0)
  await enforcer.ruleCounts()
  t.is(calls.filter(name => name === 'ruleCounters').length, 2)
})

test('what others delete or change is back in one pass, and told by its name', async t => {
  const { enforcer, kernel, pass, led } = aNode()
  enforcer.set('policy', 'web', aPolicy('web', [{ ...ALLOW, protocol: 6 }]))
  await pass()
  const healedBy = async (change: () => Promise<unknown>) => {
    await change()
    t.true(enforcer.observe({ generation: await kernel.nftGeneration(), tables: [NAME] }))
    const outcomes = [await enforcer.put(), await enforcer.remove()]
    t.deepEqual(await led(), ['cali1', 'cali2'])
    return outcomes.flatMap(({ healed }) => healed.map(({ kind, key }) => `${kind} ${key}`)).sort()
  }
  const { rules } = (await kernel.nftables(NAME))!
  const chain = rules.find(({ comment }) => comment?.startsWith('NetworkPolicy x/web') === true)!.chain
  const of = { family: 'inet', table: NAME.name } as const
  const flush = { verb: 'flush', object: { kind: 'chain', ...of, name: chain } } as const
  t.deepEqual(await healedBy(() => kernel.changeNftables([flush])), [`nftChain inet margay-policy ${chain}`])
  const table = { verb: 'delete', object: { kind: 'table', ...NAME } } as const
  const all = await healedBy(() => kernel.changeNftables([table]))
  for (const name of [
    'nftTable inet margay-policy',
    'nftChain inet margay-policy to_pods',
    'nftSet inet margay-policy to_pod',
  ])
    t.true(all.includes(name), name)
})

test('what an earlier run had shut is told once, after the first pass, or it would be shut for two hours more with each', async t => {
  const { enforcer, kernel, pass } = aNode()
  enforcer.setCut({ of: 'own', interfaceName: 'cali1' }, true)
  enforcer.setCut({ of: 'forwarded', interfaceName: 'eth0' }, true)
  t.deepEqual(await pass(), [])
  const later = new PolicyEnforcer(kernel, { table: NAME.name, interfacePrefix: 'cali' })
  t.deepEqual(later.takeFoundCut(), [])
  await later.put()
  t.deepEqual(later.takeFoundCut(), [
    { of: 'own', interfaceName: 'cali1' },
    { of: 'forwarded', interfaceName: 'eth0' },
  ])
  await later.put()
  t.deepEqual(later.takeFoundCut(), [])
})
