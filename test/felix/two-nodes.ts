// Two nodes on two subnets with a router between them that knows no pod route, each with felix and one pod, on the
// real kernel.
import { vtepMac } from '../../felix/calc/tunnels.ts'
import { Felix, type FelixDeps } from '../../felix/loop.ts'
import { nodeMarks } from '../../felix/marks.ts'
import { netnsPath } from '../../kernel/netns.ts'
import { systemClock } from '../../lib/clock.ts'
import { silentLog } from '../../lib/log.ts'
import { openNetns, type TestNetns } from './netns.ts'
import { tell, type World } from './worlds.ts'

/** Node `n` of two: 192.168.<n>0.1n/24 on its own LAN, block 10.244.<n>.0/26, pod at .5, VTEP at .1. */
export type Node = { n: number; host: TestNetns; pod: TestNetns; felix: Felix }

export type Net = AsyncDisposable & { router: TestNetns; nodes: [Node, Node] }

/** Everything up and in sync; disposed of whole. */
export async function twoNodes({
  defaultRoutes = true,
  podMacs = false,
  world = {},
}: {
  defaultRoutes?: boolean
  podMacs?: boolean
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
    // a pod that says nothing by itself
    pod.kernel.writeSysctl('ipv6', ['conf', 'all', 'disable_ipv6'], '1')
    await wire(host, 'eth0', router, `lan${n}`)
    await give(host, 'eth0', `192.168.${n}0.1${n}`, 24)
    await give(router, `lan${n}`, `192.168.${n}0.1`, 24)
    // even without a default route the other node must be found
    await route(host, defaultRoutes ? '0.0.0.0/0' : '192.168.0.0/16', `192.168.${n}0.1`, 'eth0')
    await wire(host, `calipod${n}`, pod, 'eth0', 'ee:ee:ee:ee:ee:ee')
    if (podMacs) await pod.kernel.setLink('eth0', { mac: `02:00:00:00:0${n}:05` })
    await give(pod, 'eth0', `10.244.${n}.5`, 32)
    await route(pod, '169.254.1.1/32', undefined, 'eth0')
    await route(pod, '0.0.0.0/0', '169.254.1.1', 'eth0')
    const made = { n, host, pod }
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
  { n, host }: Pick<Node, 'n' | 'host'>,
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
    pools: [{ cidr: '10.244.0.0/16', ipip: 'CrossSubnet', vxlan: 'Never', disableBgpExport: false }],
    remotes: [
      {
        name: `n${other}`,
        address: `192.168.${other}0.1${other}`,
        vxlanTunnelAddress: `10.244.${other}.1`,
        vxlanTunnelMac: vtepMac(`n${other}`),
      },
    ],
    ownBlocks: [`10.244.${n}.0/26`],
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

async function wire(from: TestNetns, name: string, to: TestNetns, peer: string, mac?: string): Promise<void> {
  await from.kernel.createLink({ kind: 'veth', name, mac, peer: { name: peer, netns: netnsPath(to.name) } })
  await to.kernel.setLink(peer, { up: true })
  await from.kernel.setLink(name, { up: true })
}

async function give({ kernel }: TestNetns, name: string, address: string, length: number): Promise<void> {
  const { index } = (await kernel.link(name))!
  await kernel.addAddress({ ifindex: index, address, length, scope: 0 })
}

async function route({ kernel }: TestNetns, dst: string, gateway: string | undefined, name: string): Promise<void> {
  const { index } = (await kernel.link(name))!
  const scope = gateway === undefined ? 253 : 0
  const made = { dst, table: 254, type: 'unicast', protocol: 3, scope, gateway, ifindex: index } as const
  const [refusal] = await kernel.changeRoutes([{ verb: 'add', route: made }])
  if (refusal !== undefined) throw refusal
}
