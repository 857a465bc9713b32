// Host endpoints with packets in a real kernel: those of the host itself, those that are translated, and those that are not tracked.
import test from 'ava'
import { felixSettings } from '../../agent/cluster/settings.ts'
import { PolicyEnforcer } from '../../felix/enforcer.ts'
import type { HostSettings, Policy, PolicyRule } from '../../felix/policy/model.ts'
import { openKernel } from '../../kernel/linux/kernel.ts'
import { KernelError } from '../../kernel/port/error.ts'
import type { Kernel } from '../../kernel/port/kernel.ts'
import { ROUTE_SCOPE } from '../../kernel/port/routes.ts'
import { ethernet, sendFrame, sendPacket } from '../felix/frames.ts'
import { namedCounters, nft } from '../kernel/nftables-programs.ts'
import { isRoot, type ScratchNetns, scratchNetns } from '../kernel/scratch-netns.ts'
import { POLICY, prepareNode, route } from './kernel-node.ts'
import { octetsOf } from './packets.ts'

const EPERM = 1
const netns = isRoot ? test : test.skip
if (!isRoot)
  test('packets are sent by root only', t => {
    t.log('skipped: needs root')
    t.pass()
  })

const [NODE, PEER, POD] = ['192.0.2.1', '192.0.2.2', '10.0.0.1']
/** Translates what is sent to 203.0.113.1, and the port 30080 of the node. Counts what came, and what passed policy. */
const PROBE = `table ip probe {
  counter came { }
  counter passed { }
  counter untracked { }
  chain early { type filter hook prerouting priority -400; udp dport 7000-30081 counter name came; }
  chain own { type filter hook output priority -400; udp dport 53-30081 counter name came; }
  chain nat_in { type nat hook prerouting priority -100; udp dport 30080-30081 dnat to ${POD}:9000; }
  chain nat_out { type nat hook output priority -100; ip daddr 203.0.113.1 udp dport 9001 dnat to ${PEER}:9000; }
  chain in { type filter hook input priority 100; udp dport 7000-30081 counter name passed; udp dport 7000 ct state untracked counter name untracked; }
  chain through { type filter hook postrouting priority 300; udp dport 53-30081 counter name passed; }
}`

const udp = (ports: [number, number]): PolicyRule => ({
  ...{ action: 'allow', protocol: 17, source: {} },
  destination: { ports: { ranges: [{ first: ports[0], last: ports[1] }], names: [] } },
})
const deny = (ports: [number, number]): PolicyRule => ({ ...udp(ports), action: 'deny' })

/** One node with a host endpoint for eth0, a pod at cali0, and a way out, eth1, that leads nowhere. */
class Node {
  readonly #space: ScratchNetns
  readonly #theirs: ScratchNetns
  readonly #kernel: Kernel
  readonly #enforcer: PolicyEnforcer
  readonly #macs: ReadonlyMap<string, string>
  readonly #policies = new Set<string>()

  constructor(
    kernel: Kernel,
    { space, theirs, macs }: { space: ScratchNetns; theirs: ScratchNetns; macs: ReadonlyMap<string, string> },
  ) {
    this.#kernel = kernel
    this.#space = space
    this.#theirs = theirs
    this.#macs = macs
    this.#enforcer = new PolicyEnforcer(kernel, { table: POLICY.name, interfacePrefix: 'cali' })
    const allow: PolicyRule = { action: 'allow', source: {}, destination: {} }
    this.#enforcer.set('profile', 'open', { ingress: [allow], egress: [allow] })
    this.#enforcer.set('endpoint', 'ns/pod', { kind: 'pod', labels: {}, addresses: [POD], ports: [] })
    this.#enforcer.setLocal('ns/pod', { interfaceName: 'cali0', profiles: ['open'] })
    this.#enforcer.set('endpoint', 'host', { kind: 'host', labels: { host: 'yes' }, addresses: [], ports: [] })
  }

  /** Returns what was refused. */
  async apply(
    host: { profiles?: string[]; name?: string },
    policies: Partial<Policy>[],
    settings: Partial<HostSettings> = {},
  ): Promise<readonly unknown[]> {
    const { profiles = [], name = 'eth0' } = host
    this.#enforcer.setHost('host', { interfaceName: name, addresses: [], profiles })
    this.#enforcer.setHostRules({ ...felixSettings(undefined).hosts!, ...settings }, NO_TUNNELS)
    for (const key of this.#policies) this.#enforcer.set('policy', key, undefined)
    for (const [i, of] of policies.entries()) {
      const key = `p${i}`
      this.#policies.add(key)
      this.#enforcer.set('policy', key, {
        ...{ ref: { kind: 'GlobalNetworkPolicy', name: key }, tier: 'default', order: i, sortName: key },
        ...{ selector: 'host == "yes"', hostStage: 'normal', ...of },
      })
    }
    const refused = [...(await this.#enforcer.put()).refused, ...(await this.#enforcer.remove()).refused]
    nft(this.#space.path, ['-f', '-'], `table ip probe { }\ndelete table ip probe\n${PROBE}`)
    return refused
  }

  /** Whether a datagram that comes by an interface passes. */
  async comes(iif: string, to: string, port: number): Promise<boolean> {
    const from = iif === 'cali0' ? POD : PEER
    const bytes = octetsOf({ from, to, protocol: 17, sourcePort: 40_000 + this.#sent++, destinationPort: port })
    return this.#passes(() =>
      sendFrame(this.#theirs, iif, ethernet({ from: '02:00:00:00:00:01', to: this.#macs.get(iif)! }, 0x800, bytes)),
    )
  }

  /** Whether a datagram of the host passes. */
  leaves(to: string, port: number): Promise<boolean> {
    const bytes = octetsOf({ from: NODE, to, protocol: 17, sourcePort: 40_000 + this.#sent++, destinationPort: port })
    return this.#passes(() => {
      try {
        sendPacket(this.#space, Buffer.from(bytes))
      } catch (error) {
        // the sender is told of what is dropped
        if (!(error instanceof KernelError) || error.errno !== EPERM) throw error
      }
    })
  }

  async count(name: string): Promise<number> {
    return (await namedCounters(this.#kernel, { family: 'ip', name: 'probe' })).get(name) ?? 0
  }

  #sent = 0

  async #passes(send: () => void): Promise<boolean> {
    const [came, passed] = [await this.count('came'), await this.count('passed')]
    send()
    // a busy kernel takes it in later
    while ((await this.count('came')) === came);
    return (await this.count('passed')) > passed
  }
}

const NO_TUNNELS = { ipip: false, vxlan: false, vxlanPort: 4789 }

netns(
  'host endpoints judge what the host sends and takes, before and after translation, and without tracking',
  async t => {
    using space = scratchNetns()
    using theirs = scratchNetns()
    using root = openKernel()
    using kernel = root.inside(space.path)
    using other = root.inside(theirs.path)
    await prepareNode(kernel, other, { theirs, pods: 1 })
    await kernel.createLink({ kind: 'veth', name: 'eth1', peer: { name: 'eth1', netns: theirs.path } })
    for (const each of [kernel, other]) await each.setLink((await each.link('eth1'))!.index, { up: true })
    await route(kernel, '203.0.113.0/24', 'eth1')
    await route(kernel, `${POD}/32`, 'cali0')
    const peer = (await other.link('eth0'))!
    await other.addAddress({ ifindex: peer.index, address: PEER, length: 32, scope: ROUTE_SCOPE.universe })
    const mac = peer.mac!
    for (const [name, address] of [
      ['eth0', PEER],
      ['eth1', '203.0.113.1'],
      ['cali0', POD],
    ] as const)
      await kernel.setNeighbour({ ifindex: (await kernel.link(name))!.index, address, mac, permanent: true })
    const macs = new Map((await kernel.links()).map(each => [each.name, each.mac!]))
    const node = new Node(kernel, { space, theirs, macs })

    // nothing is allowed but what stays open, on this interface alone
    t.deepEqual(await node.apply({}, []), [])
    t.deepEqual(
      [await node.leaves(PEER, 9000), await node.leaves(PEER, 53), await node.leaves('203.0.113.9', 9000)],
      [false, true, true],
    )
    t.deepEqual([await node.comes('eth0', NODE, 9000), await node.comes('eth1', NODE, 9000)], [false, true])
    t.deepEqual([await node.comes('cali0', NODE, 9000), await node.comes('eth0', POD, 9000)], [true, true])
    t.true(await node.leaves(POD, 9000), 'a host reaches its own pods')
    t.true(await node.leaves(NODE, 9000), 'loopback is not judged')
    // the route before translation leads elsewhere
    t.false(await node.leaves('203.0.113.1', 9001))
    t.deepEqual(await node.apply({}, [{ egress: [udp([9000, 9000])] }]), [])
    t.deepEqual([await node.leaves('203.0.113.1', 9001), await node.leaves(PEER, 9001)], [true, false])

    // all interfaces
    t.deepEqual(await node.apply({ name: '*' }, [{ egress: [udp([9000, 9000])] }]), [])
    t.deepEqual([await node.leaves('203.0.113.9', 9002), await node.leaves('203.0.113.9', 9000)], [false, true])

    // node ports are known by their own number
    const early = { hostStage: 'preDNAT', ingress: [deny([30_080, 30_080])] } as const
    t.deepEqual(await node.apply({ profiles: ['open'] }, [early]), [])
    t.deepEqual([await node.comes('eth0', NODE, 30_080), await node.comes('eth0', NODE, 30_081)], [false, true])
    const forward = { hostStage: 'forward', ingress: [deny([9000, 9000])] } as const
    const allowed = { hostStage: 'preDNAT', ingress: [udp([30_080, 30_080])] } as const
    t.deepEqual(await node.apply({ profiles: ['open'] }, [allowed, forward]), [])
    t.deepEqual([await node.comes('eth0', NODE, 30_080), await node.comes('eth0', NODE, 30_081)], [true, false])

    // without tracking
    const untracked = { hostStage: 'untracked', ingress: [udp([7000, 7000])], egress: [udp([7000, 7000])] } as const
    t.deepEqual(await node.apply({}, [untracked]), [])
    t.deepEqual([await node.comes('eth0', NODE, 7000), await node.comes('eth0', NODE, 7001)], [true, false])
    t.is(await node.count('untracked'), 1)
    t.deepEqual([await node.leaves(PEER, 7000), await node.leaves(PEER, 7001)], [true, false])

    // pods and their host
    t.deepEqual(await node.apply({ profiles: ['open'] }, [], { podsToHost: 'drop' }), [])
    t.deepEqual([await node.comes('cali0', NODE, 9000), await node.comes('cali0', PEER, 9000)], [false, true])
  },
)
