// Two nodes on two subnets with a router between them that knows no pod route, each with felix and one pod, on the
// real kernel: pods talk through vxlan.calico, find their gateway, and do not notice a restart of felix.
import { execFile, spawn } from 'node:child_process'
import { promisify } from 'node:util'
import test from 'ava'
import { vtepMac } from '../../felix/calc/tunnels.ts'
import { Felix } from '../../felix/loop.ts'
import { nodeMarks } from '../../felix/marks.ts'
import { netnsPath } from '../../kernel/netns.ts'
import { systemClock } from '../../lib/clock.ts'
import { silentLog } from '../../lib/log.ts'
import { systemProgram } from '../../lib/system-program.ts'
import { isRoot, openNetns, sweep, type TestNetns } from './netns.ts'
import { eventually } from './node-kernel.ts'
import { tell, type World } from './worlds.ts'

const run = promisify(execFile)

/** Node `n` of two: 192.168.<n>0.1n/24 on its own LAN, block 10.244.<n>.0/26, pod at .5, VTEP at .1. */
type Node = { n: number; host: TestNetns; pod: TestNetns; felix: Felix }

if (!isRoot)
  test('pods on two nodes', t => {
    t.log('skipped: needs root')
    t.pass()
  })
else {
  sweep()
  test.serial('pods of two subnets reach each other over VXLAN, and the router sees no bare pod packet', async t => {
    await using net = await twoNodes()
    const [a] = net.nodes
    await ping(a.pod, '10.244.2.5', 3)
    const { stdout } = await run(systemProgram('ip'), [
      '-n',
      a.host.name,
      'route',
      'show',
      'proto',
      '80',
      'scope',
      'global',
      'type',
      'unicast',
    ])
    t.is(stdout.trim(), '10.244.2.0/26 via 10.244.2.1 dev vxlan.calico onlink')
    const link = await a.host.kernel.link('vxlan.calico')
    t.like(link, { mtu: 1450, up: true })
    // the router has no route to pods: nothing but the outer packets can have passed
    const routes = await net.router.kernel.routes()
    t.false(routes.some(({ dst }) => dst.startsWith('10.244.')))
  })

  test.serial('a full-size packet passes the tunnel unfragmented, a larger one is refused at the source', async t => {
    await using net = await twoNodes()
    const [a] = net.nodes
    await t.notThrowsAsync(ping(a.pod, '10.244.2.5', 1, ['-M', 'do', '-s', '1422']))
    await t.throwsAsync(ping(a.pod, '10.244.2.5', 1, ['-M', 'do', '-s', '1423']))
  })

  for (const defaultRoutes of [true, false]) {
    const where = defaultRoutes ? 'a node with a default route' : 'a node without a default route'
    test.serial(`ARP for 169.254.1.1 is answered on pod interfaces and not on the uplink: ${where}`, async t => {
      await using net = await twoNodes({ defaultRoutes })
      const [{ pod, host }] = net.nodes
      t.regex(await arping(pod, 'eth0'), /reply from 169\.254\.1\.1 \[EE:EE:EE:EE:EE:EE\]/)
      t.regex(await arping(net.router, 'lan1'), /Received 0 response/)
      await host.otherProgram.setLink('eth0', { up: false })
      await host.otherProgram.setLink('eth0', { up: true })
      await eventually('the pod gets an answer after the uplink was down', async () =>
        /reply from/.test(await arping(pod, 'eth0')),
      )
    })
  }

  test.serial('a restart of felix loses no packet', async t => {
    await using net = await twoNodes()
    const [a] = net.nodes
    const args = [
      'netns',
      'exec',
      a.pod.name,
      systemProgram('ping'),
      '-q',
      '-i',
      '0.01',
      '-c',
      '100',
      '-W',
      '1',
      '10.244.2.5',
    ]
    const pings = spawn(systemProgram('ip'), args, { stdio: ['ignore', 'pipe', 'ignore'] })
    let said = ''
    pings.stdout.on('data', chunk => (said += chunk))
    const ended = new Promise(resolve => pings.once('exit', resolve))
    for (let i = 0; i < 3; i++) {
      await a.felix.close()
      a.felix = startFelix(a)
      await a.felix.inSync()
    }
    await ended
    t.regex(said, / 0% packet loss/)
  })

  test.serial('a tunnel that was deleted by hand carries packets again within a second', async t => {
    await using net = await twoNodes()
    const [a] = net.nodes
    await a.host.otherProgram.deleteLink('vxlan.calico')
    const startMs = performance.now()
    await eventually('the pod answers again', () =>
      // a lost probe must not be what is measured
      ping(a.pod, '10.244.2.5', 1, ['-W', '0.1']).then(
        () => true,
        () => false,
      ),
    )
    t.log(`${Math.round(performance.now() - startMs)} ms`)
    t.true(performance.now() - startMs < 1000)
  })
}

/** What `arping` prints when it asks once for 169.254.1.1; no answer is no failure. */
async function arping({ name }: TestNetns, device: string): Promise<string> {
  const args = ['netns', 'exec', name, systemProgram('arping'), '-c1', '-w1', '-I', device, '169.254.1.1']
  return run(systemProgram('ip'), args).then(
    ({ stdout }) => stdout,
    (error: { stdout?: string }) => error.stdout ?? '',
  )
}

type Net = AsyncDisposable & { router: TestNetns; nodes: [Node, Node] }

/** Everything up and in sync; disposed of whole. */
async function twoNodes({ defaultRoutes } = { defaultRoutes: true }): Promise<Net> {
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
    await wire(host, 'eth0', router, `lan${n}`)
    await give(host, 'eth0', `192.168.${n}0.1${n}`, 24)
    await give(router, `lan${n}`, `192.168.${n}0.1`, 24)
    // even without a default route the other node must be found
    await route(host, defaultRoutes ? '0.0.0.0/0' : '192.168.0.0/16', `192.168.${n}0.1`, 'eth0')
    await wire(host, `calipod${n}`, pod, 'eth0', 'ee:ee:ee:ee:ee:ee')
    await give(pod, 'eth0', `10.244.${n}.5`, 32)
    await route(pod, '169.254.1.1/32', undefined, 'eth0')
    await route(pod, '0.0.0.0/0', '169.254.1.1', 'eth0')
    const made = { n, host, pod }
    return { ...made, felix: startFelix(made, (await pod.kernel.link('eth0'))?.mac) }
  }
  const nodes: [Node, Node] = [await node(1), await node(2)]
  for (const made of nodes) undo.defer(() => made.felix.close())
  for (const { felix } of nodes) await felix.inSync()
  const owned = undo.move()
  return { router, nodes, [Symbol.asyncDispose]: () => owned.disposeAsync() }
}

const macs = new Map<number, string>()

function startFelix({ n, host }: Pick<Node, 'n' | 'host'>, podMac?: string): Felix {
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
        addresses: [`10.244.${n}.5`],
        mac: macs.get(n)!,
        mtu: 1450,
      },
    ],
    uplinkMtu: 1500,
  }
  const felix = new Felix(host.kernel, {
    clock: systemClock,
    log: silentLog,
    marks: nodeMarks({ routeProtocol: 80, interfacePrefix: 'cali' }),
    onConditions: () => {},
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

async function ping({ name }: TestNetns, address: string, count: number, more: string[] = []): Promise<void> {
  await run(systemProgram('ip'), [
    'netns',
    'exec',
    name,
    systemProgram('ping'),
    '-q',
    '-i',
    '0.05',
    '-c',
    `${count}`,
    '-W',
    '1',
    ...more,
    address,
  ])
}
