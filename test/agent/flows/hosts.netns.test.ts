// Copies of real packets that host endpoints deny or log, as flows.
import test from 'ava'
import { felixSettings } from '../../../agent/cluster/settings.ts'
import { FlowEnds } from '../../../agent/flows/ends.ts'
import { Flows } from '../../../agent/flows/flows.ts'
import type { Flow } from '../../../api/answers.ts'
import { formatRef } from '../../../api/status.ts'
import { PolicyEnforcer } from '../../../felix/enforcer.ts'
import type { HostEndpointHere, Policy, PolicyInputs, PolicyRule } from '../../../felix/policy/model.ts'
import { openKernel } from '../../../kernel/linux/kernel.ts'
import { KernelError } from '../../../kernel/port/error.ts'
import { systemClock } from '../../../lib/clock.ts'
import { ethernet, sendFrame, sendPacket } from '../../felix/frames.ts'
import { isRoot, scratchNetns } from '../../kernel/scratch-netns.ts'
import { POLICY, prepareNode, route } from '../../policy/kernel-node.ts'
import { octetsOf } from '../../policy/packets.ts'
import { ANSWER_MS } from '../../slowness.ts'

const netns = isRoot ? test.serial : test.skip
if (!isRoot)
  test('packets are sent by root only', t => {
    t.log('skipped: needs root')
    t.pass()
  })

const ADDRESSES = {
  4: { node: '192.0.2.1', peer: '192.0.2.2', pod: '10.0.0.1' },
  6: { node: '2001:db8::1', peer: '2001:db8::2', pod: 'fd00::1' },
} as const
const NO_TUNNELS = { ipip: false, vxlan: false, vxlanPort: 4789 }
const rule = (action: PolicyRule['action'], port: number): PolicyRule => ({
  ...{ action, protocol: 17, source: {} },
  destination: { ports: { ranges: [{ first: port, last: port }], names: [] } },
})
const policy = (name: string, more: Partial<Policy>): Policy => ({
  ...{ ref: { kind: 'GlobalNetworkPolicy', name }, tier: 'security', order: 1, sortName: name },
  ...{ selector: "host == 'yes'", hostStage: 'normal', ...more },
})

/** One node with host endpoints for eth0 and, where it is for all, the others. */
async function aNode(of: HostEndpointHere, policies: readonly Policy[]) {
  const stack = new AsyncDisposableStack()
  const [space, theirs] = [stack.use(scratchNetns()), stack.use(scratchNetns())]
  const own = openKernel()
  stack.defer(() => own.close())
  const [kernel, other] = [own.inside(space.path), own.inside(theirs.path)]
  await prepareNode(kernel, other, { theirs, pods: 1 })
  for (const { pod } of Object.values(ADDRESSES)) await route(kernel, `${pod}/${pod.includes(':') ? 128 : 32}`, 'cali0')
  const enforcer = new PolicyEnforcer(kernel, { table: POLICY.name, interfacePrefix: 'cali' })
  const ends = new FlowEnds()
  const tell = <K extends keyof PolicyInputs>(kind: K, key: string, value: PolicyInputs[K]) => {
    enforcer.set(kind, key, value)
    ends.set(kind, key, value)
  }
  const allow: PolicyRule = { action: 'allow', source: {}, destination: {} }
  const each = (name: 'node' | 'peer' | 'pod') => [ADDRESSES[4][name], ADDRESSES[6][name]]
  tell('tier', 'security', { name: 'security', order: 1, defaultAction: 'deny' })
  tell('profile', 'open', { ingress: [allow], egress: [allow] })
  tell('node', 'n1', { labels: {}, addresses: each('node') })
  tell('node', 'n2', { labels: {}, addresses: each('peer') })
  tell('endpoint', 'shop/web', { kind: 'pod', labels: {}, addresses: each('pod'), ports: [] })
  enforcer.setLocal('shop/web', { interfaceName: 'cali0', profiles: ['open'] })
  tell('endpoint', 'h1', { kind: 'host', labels: { host: 'yes' }, addresses: of.addresses, ports: [] })
  enforcer.setHost('h1', of)
  enforcer.setHostRules(felixSettings(undefined).hosts!, NO_TUNNELS)
  for (const each of policies) enforcer.set('policy', formatRef(each.ref), each)
  const refused = [...(await enforcer.put()).refused, ...(await enforcer.remove()).refused]
  if (refused.length > 0) throw new Error(JSON.stringify(refused))

  const flows = new Flows({
    ...{ kernel, clock: systemClock, ends, nodeName: 'n1', report: () => {} },
    hostEndpointAt: index => enforcer.hostEndpointAt(index),
    policyNamed: name => {
      const known = enforcer.policyNamed(name)
      return known && { policy: formatRef(known.ref), tier: known.tier }
    },
  })
  stack.defer(() => flows.close())
  flows.start()
  const mac = (await kernel.link('eth0'))!.mac!
  /** The flow with this verdict that a datagram to a port is told as: of some there are several. */
  const told = async (port: number, verdict: Flow['verdict'], send: () => void): Promise<Flow> => {
    const { promise, resolve, reject } = Promise.withResolvers<Flow>()
    const following = flows.follow(line => {
      if ('flow' in line && line.flow.destinationPort === port && line.flow.verdict === verdict) resolve(line.flow)
    })!
    const late = setTimeout(() => reject(new Error(`no ${verdict} of port ${port} is told`)), ANSWER_MS)
    send()
    const flow = await promise
    clearTimeout(late)
    following.close()
    return flow
  }
  const bytes = (from: string, to: string, port: number) =>
    octetsOf({ from, to, protocol: 17, sourcePort: 40_000, destinationPort: port })
  return {
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
    comes: (family: 4 | 6, to: 'node' | 'pod', port: number, verdict: Flow['verdict']) => {
      const type = family === 4 ? 0x800 : 0x86dd
      const packet = bytes(ADDRESSES[family].peer, ADDRESSES[family][to], port)
      return told(port, verdict, () =>
        sendFrame(theirs, 'eth0', ethernet({ from: '02:00:00:00:00:01', to: mac }, type, packet)),
      )
    },
    leaves: (port: number) =>
      told(port, 'deny', () => {
        try {
          sendPacket(space, Buffer.from(bytes(ADDRESSES[4].node, ADDRESSES[4].peer, port)))
        } catch (error) {
          // the sender is told of what is dropped
          if (!(error instanceof KernelError)) throw error
        }
      }),
  }
}

/** By name, or by addresses as automatic ones are. */
const HOSTS: Record<string, HostEndpointHere> = {
  'for an interface': { interfaceName: 'eth0', addresses: [], profiles: [] },
  'for all interfaces': { interfaceName: '*', addresses: [], profiles: [] },
  'by its addresses': { addresses: [ADDRESSES[4].node, ADDRESSES[6].node], profiles: [] },
}
const OWN = policy('own', { order: 2, ingress: [rule('deny', 7001)], egress: [rule('deny', 7002)] })
const STAGED = policy('planned', { order: 1, staged: true, ingress: [rule('deny', 7003)], egress: [] })
const LOG = policy('log', { order: 1, ingress: [rule('log', 7004), rule('allow', 7004)] })
const FORWARD = policy('through', { order: 3, hostStage: 'forward', ingress: [rule('deny', 7005)], egress: [] })
const EARLY = policy('early', { hostStage: 'preDNAT', ingress: [rule('deny', 7006)] })
const UNTRACKED = policy('raw', { hostStage: 'untracked', ingress: [rule('deny', 7007)], egress: [] })

for (const [name, host] of Object.entries(HOSTS))
  netns(`what a host endpoint ${name} denies or logs is told with its name, the policy, tier and rule`, async t => {
    const isOfAll = host.interfaceName === '*'
    await using node = await aNode(host, [OWN, STAGED, LOG, FORWARD, EARLY, ...(isOfAll ? [] : [UNTRACKED])])
    const h1 = { kind: 'HostEndpoint', name: 'h1' } as const
    const n2 = { kind: 'Node', name: 'n2' } as const
    const web = { kind: 'Pod', namespace: 'shop', name: 'web' } as const
    const of = (policy: string) => ({ policy: `GlobalNetworkPolicy ${policy}`, tier: 'security', rule: 0 })
    for (const family of [4, 6] as const) {
      const comes = (to: 'node' | 'pod', port: number, verdict: Flow['verdict'] = 'deny') =>
        node.comes(family, to, port, verdict)
      const arrives = { direction: 'ingress', source: n2, destination: h1 } as const
      t.like(await comes('node', 7001), { ...arrives, ...of('own') })
      t.like(await comes('node', 7003, 'staged-deny'), { ...arrives, ...of('planned') })
      t.like(await comes('node', 7004, 'log'), { ...arrives, ...of('log') })
      t.like(await comes('node', 7006), { ...arrives, ...of('early') })
      if (!isOfAll) t.like(await comes('node', 7007), { ...arrives, ...of('raw') })
      t.like(await comes('node', 7009, 'staged-unmatched'), { ...arrives })
      t.like(await comes('pod', 7005), { source: n2, destination: web, ...of('through') })
    }
    t.like(await node.leaves(7002), { direction: 'egress', source: h1, destination: n2, ...of('own') })
  })

netns(
  'what nothing allows to a host endpoint is told as the end of its tier, or as denied by its profiles',
  async t => {
    const host = HOSTS['for an interface']!
    const denied = { direction: 'ingress', destination: { kind: 'HostEndpoint', name: 'h1' } } as const
    {
      await using node = await aNode(host, [OWN])
      t.like(await node.comes(4, 'node', 7009, 'deny'), { ...denied, tier: 'security' })
    }
    await using node = await aNode(host, [])
    t.like(await node.comes(4, 'node', 7009, 'deny'), { ...denied, because: 'no profile ingress deny' })
  },
)
