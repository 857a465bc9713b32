// Policy in a real kernel: pods in namespaces, policies as the calculation takes them, and packets.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import test from 'ava'
import { PolicyEnforcer } from '../../felix/enforcer.ts'
import { LABEL, type Policy, type PolicyEndpoint, type PolicyRule } from '../../felix/policy/model.ts'
import { openKernel } from '../../kernel/linux/kernel.ts'
import type { Kernel } from '../../kernel/port/kernel.ts'
import { ROUTE_PROTOCOL, ROUTE_SCOPE, ROUTE_TABLE } from '../../kernel/port/routes.ts'
import { systemProgram } from '../../lib/system-program.ts'
import { nft } from '../kernel/nftables-programs.ts'
import { isRoot, type ScratchNetns, scratchNetns } from '../kernel/scratch-netns.ts'

const netns = isRoot ? test : test.skip
if (!isRoot)
  test('packets are sent by root only', t => {
    t.log('skipped: needs root')
    t.pass()
  })

type Pod = { name: string; address: string; interfaceName: string; space: ScratchNetns }

class Node implements AsyncDisposable {
  readonly #host = openKernel()
  readonly space = scratchNetns()
  readonly kernel: Kernel = this.#host.inside(this.space.path)
  readonly pods: Pod[] = []
  readonly #servers: ChildProcess[] = []

  async start(): Promise<void> {
    this.kernel.writeSysctl('ipv4', ['conf', 'all', 'forwarding'], '1')
  }

  /** A pod with a TCP server on the port 80 that answers `hello`. */
  async add(name: string): Promise<Pod> {
    const number = this.pods.length + 1
    const pod: Pod = { name, address: `10.244.0.${number}`, interfaceName: `cali${number}`, space: scratchNetns() }
    const inside = this.#host.inside(pod.space.path)
    await this.kernel.createLink({
      ...{ kind: 'veth', name: pod.interfaceName },
      peer: { name: 'eth0', netns: pod.space.path },
    })
    for (const [kernel, link, address] of [
      [this.kernel, pod.interfaceName, '169.254.1.1'],
      [inside, 'eth0', pod.address],
    ] as const) {
      const { index } = (await kernel.link(link))!
      await kernel.setLink(index, { up: true })
      await kernel.addAddress({ ifindex: index, address, length: 32, scope: ROUTE_SCOPE.universe })
    }
    const lo = (await inside.link('lo'))!
    await inside.setLink(lo.index, { up: true })
    await route(this.kernel, `${pod.address}/32`, (await this.kernel.link(pod.interfaceName))!.index)
    const eth0 = (await inside.link('eth0'))!.index
    await route(inside, '169.254.1.1/32', eth0)
    await route(inside, '0.0.0.0/0', eth0, '169.254.1.1')
    inside.close()
    const server = `require('net').createServer(s => s.end('hello')).listen(80, '0.0.0.0', () => console.log('on'))`
    const child = this.#run(pod, process.execPath, ['-e', server])
    await once(child.stdout!, 'data')
    this.#servers.push(child)
    this.pods.push(pod)
    return pod
  }

  /** Whether a connection to the pod's port 80 is answered. What is dropped is not answered within a second. */
  async reaches(from: { space: ScratchNetns }, to: Pick<Pod, 'address'>): Promise<boolean> {
    const client = `const s = require('net').connect({ host: '${to.address}', port: 80 })
      s.on('data', () => process.exit(0)).on('error', () => process.exit(1)); setTimeout(() => process.exit(2), 1000)`
    const [code] = await once(this.#run(from, process.execPath, ['-e', client]), 'exit')
    return code === 0
  }

  #run({ space }: Pick<Pod, 'space'>, program: string, args: readonly string[]): ChildProcess {
    return spawn(systemProgram('nsenter'), [`--net=${space.path}`, '--', program, ...args], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const server of this.#servers) {
      server.kill('SIGKILL')
      await once(server, 'exit')
    }
    this.kernel.close()
    this.#host.close()
    for (const { space } of this.pods) space[Symbol.dispose]()
    this.space[Symbol.dispose]()
  }
}

async function route(kernel: Kernel, dst: string, ifindex: number, gateway?: string): Promise<void> {
  const common = {
    ...({ dst, table: ROUTE_TABLE.main, type: 'unicast', protocol: ROUTE_PROTOCOL.boot, ifindex } as const),
    scope: gateway === undefined ? ROUTE_SCOPE.link : ROUTE_SCOPE.universe,
  } as const
  const [refused] = await kernel.changeRoutes([
    { verb: 'add', route: gateway === undefined ? common : { ...common, gateway } },
  ])
  if (refused !== undefined) throw refused
}

/** A Service at 10.96.0.1 with the second pod behind it. */
const SERVICE = `table ip service {
  chain prerouting { type nat hook prerouting priority -100; ip daddr 10.96.0.1 dnat to 10.244.0.2; }
}`

const endpoint = ({ name, address }: Pod): PolicyEndpoint => ({
  kind: 'pod',
  labels: { app: name, [LABEL.orchestrator]: 'k8s', [LABEL.namespace]: 'default' },
  addresses: [address],
  ports: [],
})
const ALLOW: PolicyRule = { action: 'allow', source: {}, destination: {} }
const policy = (name: string, selector: string, more: Partial<Policy>): Policy => ({
  ...{ ref: { kind: 'NetworkPolicy', namespace: 'default', name }, tier: 'default', order: 1000 },
  ...{ sortName: `${name}/default/NetworkPolicy`, selector, hostStage: 'normal' },
  ...more,
})

netns(
  'pods reach each other as the policies say, from the first packet on, and after a restart without a write',
  async t => {
    await using node = new Node()
    await node.start()
    const [web, friend, stranger] = [await node.add('web'), await node.add('friend'), await node.add('stranger')]
    const open = () => new PolicyEnforcer(node.kernel, { table: 'margay-policy', interfacePrefix: 'cali' })
    const tell = (enforcer: PolicyEnforcer) => {
      enforcer.set('tier', 'default', { name: 'default', order: 1_000_000, defaultAction: 'deny' })
      enforcer.set('profile', 'kns.default', { ingress: [ALLOW], egress: [ALLOW] })
      for (const pod of node.pods) {
        enforcer.set('endpoint', `default/${pod.name}`, endpoint(pod))
        enforcer.setLocal(`default/${pod.name}`, { interfaceName: pod.interfaceName, profiles: ['kns.default'] })
      }
    }
    const apply = async (enforcer: PolicyEnforcer) => {
      const outcomes = [await enforcer.put(), await enforcer.remove()]
      t.deepEqual(
        outcomes.flatMap(({ refused }) => refused),
        [],
      )
      return outcomes.flatMap(({ written }) => written).length
    }

    const enforcer = open()
    // nothing is known: closed
    await apply(enforcer)
    t.false(await node.reaches(friend, web))
    tell(enforcer)
    await apply(enforcer)
    t.true(enforcer.judges(web.interfaceName))
    t.true(await node.reaches(friend, web), 'no policy selects it')

    const onlyFriends = policy('friends', "app == 'web'", {
      ingress: [
        {
          ...{ action: 'allow', protocol: 6, source: { selector: "app == 'friend'" } },
          destination: { ports: { ranges: [{ first: 80, last: 80 }], names: [] } },
        },
      ],
    })
    enforcer.set('policy', 'friends', onlyFriends)
    await apply(enforcer)
    t.deepEqual([await node.reaches(friend, web), await node.reaches(stranger, web)], [true, false])
    t.true(await node.reaches(web, stranger), 'replies pass, and what the pod sends is not judged by it')

    const again = open()
    tell(again)
    again.set('policy', 'friends', onlyFriends)
    t.is(await apply(again), 0, 'what stands is adopted')

    // the stranger becomes a friend: one element, no rule
    again.set('endpoint', 'default/stranger', {
      ...endpoint(stranger),
      labels: { ...endpoint(stranger).labels, app: 'friend' },
    })
    t.is(await apply(again), 1)
    t.true(await node.reaches(stranger, web))

    again.set('policy', 'egress', policy('egress', "app == 'friend'", { egress: [] }))
    await apply(again)
    t.deepEqual([await node.reaches(friend, web), await node.reaches(web, friend)], [false, true])

    // somebody empties all tables: put back in one pass
    await node.kernel.changeNftables([
      { verb: 'delete', object: { kind: 'table', family: 'inet', name: 'margay-policy' } },
    ])
    t.true(await node.reaches(friend, web), 'open while it is away')
    t.true(again.observe({ family: 'inet', name: 'margay-policy' }))
    t.true((await apply(again)) > 5)
    t.deepEqual([await node.reaches(friend, web), await node.reaches(web, friend)], [false, true])

    // a Service, as others translate it; and the kubelet, which is of the node
    nft(node.space.path, ['-f', '-'], SERVICE)
    const service = { address: '10.96.0.1' }
    t.deepEqual([await node.reaches(friend, service), await node.reaches(web, service)], [false, true])
    again.set('policy', 'egress', undefined)
    again.set('policy', 'closed', policy('closed', "app == 'web'", { ingress: [] }))
    again.set('policy', 'friends', undefined)
    await apply(again)
    t.deepEqual([await node.reaches(friend, web), await node.reaches(web, service)], [false, true])
    t.true(await node.reaches(node, web), 'probes of the kubelet are answered')

    again.setLocal('default/web', undefined)
    again.set('endpoint', 'default/web', undefined)
    await apply(again)
    t.false(again.judges(web.interfaceName))
    t.false(await node.reaches(stranger, web), 'a pod that is gone is closed')
  },
)
