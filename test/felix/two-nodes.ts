// Two nodes on two subnets with a router between them that knows no pod route, each with felix and one pod, on the
// real kernel.
import { vtepMac } from '../../felix/calc/tunnels.ts'
import { Felix, type FelixDeps } from '../../felix/loop.ts'
import { nodeMarks } from '../../felix/marks.ts'
import { netnsPath } from '../../kernel/netns.ts'
import { GATEWAY } from '../../kernel/pod-interface.ts'
import { systemClock } from '../../lib/clock.ts'
import { silentLog } from '../../lib/log.ts'
import { openNetns, type TestNetns } from './netns.ts'
import { tell, type World } from './worlds.ts'

/**
 * Node `n` of two: 192.168.<n>0.1n/24 on its own LAN, block 10.244.<n>.0/26, pod at .5, VTEP at .1. With `ipv6` its block and pod are
 * of IPv6 alone, fd00:10:<n>::/122 with the pod at ::5, and IPv6 is off on the host but where somebody asks for it.
 */
export type Node = { n: number; host: TestNetns; pod: TestNetns; felix: Felix; ipv6?: true }

export type Net = AsyncDisposable & { router: TestNetns; nodes: [Node, Node] }

/** Everything up and in sync; disposed of whole. */
export async function twoNodes({
  defaultRoutes = true,
  podMacs = false,
  ipv6,
  world = {},
}: {
  defaultRoutes?: boolean
  podMacs?: boolean
  ipv6?: true
  world?: Partial<World>
} = {}): Promise<Net> {
  await using undo = new AsyncDisposableStack()
  const netns = async () => {
    const made = await openNetns()
    undo.defer(() => made.close())
    await made.kernel.setLink('lo', { up: true })
    return made
  }
  const router = await netns()
  router.kernel.writeSysctl('ipv4', ['ip_forward'], '1')
  const node = async (n: number): Promise<Node> => {
    const host = await netns()
    const pod = await netns()
    const silent = ipv6 ? host : pod
    // a pod that says nothing by itself
    for (const which of ['all', 'default']) silent.kernel.writeSysctl('ipv6', ['conf', which, 'disable_ipv6'], '1')
    if (ipv6) pod.kernel.writeSysctl('ipv6', ['conf', 'default', 'accept_dad'], '0')
    await wire(host, 'eth0', router, `lan${n}`)
    await give(host, 'eth0', `192.168.${n}0.1${n}`, 24)
    await give(router, `lan${n}`, `192.168.${n}0.1`, 24)
    // even without a default route the other node must be found
    await route(host, defaultRoutes ? '0.0.0.0/0' : '192.168.0.0/16', `192.168.${n}0.1`, 'eth0')
    await wire(host, `calipod${n}`, pod, 'eth0', 'ee:ee:ee:ee:ee:ee')
    if (podMacs) await pod.kernel.setLink('eth0', { mac: `02:00:00:00:0${n}:05` })
    if (ipv6) {
      await give(pod, 'eth0', `fd00:10:${n}::5`, 128)
      await route(pod, '::/0', GATEWAY.ipv6, 'eth0')
    } else {
      await give(pod, 'eth0', `10.244.${n}.5`, 32)
      await route(pod, '169.254.1.1/32', undefined, 'eth0')
      await route(pod, '0.0.0.0/0', '169.254.1.1', 'eth0')
    }
    const made = { n, host, pod, ipv6 }
    return { ...made, felix: startFelix(made, { podMac: (await pod.kernel.link('eth0'))?.mac, world }) }
  }
  const nodes: [Node, Node] = [await node(1), await node(2)]
  for (const made of nodes) undo.defer(() => made.felix.close())
  for (const { felix } of nodes) await felix.inSync()
  const owned = undo.move()
  return { router, nodes, [Symbol.asyncDispose]: () => owned.disposeAsync() }
}

const macs = new Map<number, string>()

/** Another felix for a node, in the world that the first one had but for `world`, its pod with more `addresses`. */
export function startFelix(
  { n, host, ipv6 }: Pick<Node, 'n' | 'host' | 'ipv6'>,
  {
    podMac,
    world = {},
    addresses = [],
    ...deps
  }: Partial<FelixDeps> & { podMac?: string; world?: Partial<World>; addresses?: readonly string[] } = {},
): Felix {
  if (podMac !== undefined) macs.set(n, podMac)
  const other = 3 - n
  const input: World = {
    node: { name: `n${n}`, ipv4: `192.168.${n}0.1${n}/24`, uplink: 'eth0', vxlanTunnelAddress: `10.244.${n}.1` },
    config: { vxlanPort: 4789, vxlanVni: 4096, ipipMtu: 0, vxlanMtu: 0, workloadRouteProtocol: 3 },
    capabilities: { ipip: false, vxlan: true },
    pools: [{ cidr: '10.244.0.0/16', ipip: 'CrossSubnet', vxlan: 'Never', isExchanged: true }],
    remotes: [
      {
        name: `n${other}`,
        address: `192.168.${other}0.1${other}`,
        vxlanTunnelAddress: `10.244.${other}.1`,
        vxlanTunnelMac: vtepMac(`n${other}`),
      },
    ],
    ownBlocks: [`10.244.${n}.0/26`],
    lent: [],
    learned: [{ prefix: `10.244.${other}.0/26`, nextHop: `192.168.${other}0.1${other}`, encapsulations: [8] }],
    endpoints: [
      {
        id: 'pod',
        interfaceName: `calipod${n}`,
        ifname: 'eth0',
        netns: '',
        addresses: [`10.244.${n}.5`, ...addresses],
        mac: macs.get(n)!,
        mtu: 1450,
      },
    ],
    uplinkMtu: 1500,
    ...(ipv6 && ipv6World(n)),
    ...world,
  }
  const felix = new Felix(host.kernel, {
    clock: systemClock,
    log: silentLog,
    marks: nodeMarks({ routeProtocol: 80, interfacePrefix: 'cali' }),
    onConditions: () => {},
    ...deps,
  })
  felix.start()
  tell(felix, input)
  for (const source of ['datastore', 'endpoints', 'bgp'] as const) felix.complete(source)
  return felix
}

/** What differs where pods have IPv6 alone: tunnel addresses are of IPv6 too, ::1 of each block, and blocks are announced over IPv4. */
function ipv6World(n: number): Partial<World> {
  const other = 3 - n
  return {
    node: { name: `n${n}`, ipv4: `192.168.${n}0.1${n}/24`, uplink: 'eth0', vxlanTunnelAddressV6: `fd00:10:${n}::1` },
    pools: [{ cidr: 'fd00:10::/32', ipip: 'Never', vxlan: 'CrossSubnet', isExchanged: true }],
    remotes: [
      {
        ...{ name: `n${other}`, address: `192.168.${other}0.1${other}`, vxlanTunnelMac: vtepMac(`n${other}`) },
        vxlanTunnelAddressV6: `fd00:10:${other}::1`,
      },
    ],
    ownBlocks: [`fd00:10:${n}::/122`],
    learned: [{ prefix: `fd00:10:${other}::/122`, nextHop: `192.168.${other}0.1${other}`, encapsulations: [8] }],
    endpoints: [
      {
        ...{ id: 'pod', interfaceName: `calipod${n}`, ifname: 'eth0', netns: '', mtu: 1450 },
        ...{ addresses: [`fd00:10:${n}::5`], mac: macs.get(n)! },
      },
    ],
  }
}

export async function wire(from: TestNetns, name: string, to: TestNetns, peer: string, mac?: string): Promise<void> {
  await from.kernel.createLink({ kind: 'veth', name, mac, peer: { name: peer, netns: netnsPath(to.name) } })
  await to.kernel.setLink(peer, { up: true })
  await from.kernel.setLink(name, { up: true })
}

export async function give({ kernel }: TestNetns, name: string, address: string, length: number): Promise<void> {
  const { index } = (await kernel.link(name))!
  await kernel.addAddress({ ifindex: index, address, length, scope: 0 })
}

export async function route(
  { kernel }: TestNetns,
  dst: string,
  gateway: string | undefined,
  name: string,
): Promise<void> {
  const { index } = (await kernel.link(name))!
  const scope = gateway === undefined ? 253 : 0
  const made = { dst, table: 254, type: 'unicast', protocol: 3, scope, gateway, ifindex: index } as const
  const [refusal] = await kernel.changeRoutes([{ verb: 'add', route: made }])
  if (refusal !== undefined) throw refusal
}
