// What happens to a lab in the tests, and what is seen of it: a person's commands (`ip`, `ping`, `arping`, `tcpdump`,
// `kill -9`) run in its namespaces, their words kept as they came. The claims about it are in `claims.ts`. The same
// scenario runs on this machine's kernel and inside of the virtual machine, where everything is slower by `patience`.

import { PROBE_INTERFACE } from '../../kernel/pod-interface.ts'
import { askAgent, type PeerRow } from '../../lab/ask.ts'
import type { ClusterObject } from '../../lab/cluster.ts'
import type { Lab } from '../../lab/lab.ts'
import type { PairRow } from '../../lab/measure.ts'
import { runProgram, until } from '../../lab/program.ts'
import { ETHERTYPE, ethernet, IP_PROTOCOL, ipv4, listenUdp, sendPacket, udp, vxlan } from '../felix/frames.ts'
import { type Bonded, bonded } from './bond.ts'
import { type LanPings, onLan } from './lan.ts'
import { Listener, lastAnswered, sequenceOf, unanswered } from './listener.ts'
import { type Offload, offload } from './offload.ts'
import { type PluginPings, plugins } from './plugins.ts'
import { type InVrf, inVrf } from './vrf.ts'

export type Observations = {
  /** Which kind of tunnel this kernel's nodes use between LANs. */
  pairs: PairRow[]
  peers: PeerRow[]
  /** `ip -4 route` of each node, one line per route, and the addresses of its pods. */
  nodes: { name: string; address: string; routes: string[]; pods: string[] }[]
  pod: { address: string; link: string; addresses: string; routes: string[]; arping: string }
  host: { link: string }
  /** What arping prints when the router asks LAN A for the gateway of the pods. */
  routerArping: string
  /** What tcpdump saw on the router's LAN B while pods of LAN A and LAN B pinged each other. */
  capture: string[]
  /** What the first node dropped after a pod of its sent tunnel packets to the last, and the last after the router did. */
  forged: { fromPod: string[]; fromRouter: string[]; heard: number }
  /** How long each thing that was broken by hand took to be as before. */
  healing: { what: string; ms: number }[]
  /** Undefined where Debian's plugins are not there. */
  plugins: PluginPings | undefined
  /** A row for each plugin whose containers are on the LAN. */
  lan: LanPings[]
  /** Undefined where the kernel has no VRFs, or the plugin is not there. */
  vrf: InVrf | undefined
  /** Undefined where the kernel has no flowtables. */
  offload: Offload | undefined
  /** `watched`: with BFD on the mesh, its sessions with that node at the others; undefined without. */
  restart: { pings: RestartPings[]; deleted: string[]; watched: WatchedMesh | undefined }
  /** After DEL of the first pod: its node's routes, what is left in its namespace, and a ping to its neighbour. */
  removed: { address: string; routes: string[]; links: string; neighbour: string }
  /** A node's address is changed by hand: how long until the routes of the others lead to the new one, and pings to its pod. */
  moved: { ms: number; pings: string[] }
  /** Undefined where the kernel has no bonding or no VLANs. */
  bonded: Bonded | undefined
}

/** Numbers of requests: the last one answered when the agent was killed, when it was ready, and of all; and all that nothing answered. */
export type RestartPings = { between: string; killed: number; ready: number; last: number; unanswered: number[] }

/** Whether each session is over one link or over routers, how often each was lost, and whether all were up again in the end. */
export type WatchedMesh = { hops: string[]; losses: number[]; up: boolean }

/**
 * `onLan`: the plugins whose containers are on the LAN. `bfd`: what the mesh has of it while an agent is killed. `say` is told what
 * begins.
 */
export type ScenarioOptions = { patience: number; onLan: readonly string[]; bfd?: string; say: (text: string) => void }

/** Pings over a restart go on for so many after the agent is ready. */
const PINGS_AFTER = 100

const HEAL_LIMIT_MS = 5000
const MOVE_LIMIT_MS = 30_000

/** Everything, in order, on a lab whose routes are known. One pod is gone at the end, n2 has another address, and n1 perhaps another uplink. */
export async function observe(lab: Lab, options: ScenarioOptions): Promise<Observations> {
  const step = <T>(what: string, work: (lab: Lab, options: ScenarioOptions) => Promise<T>): Promise<T> => {
    options.say(what)
    return work(lab, options)
  }
  return {
    pairs: await step('every pair of pods', () => lab.pingPairs()),
    peers: await step('BGP peers', () => lab.peers()),
    nodes: await step('routes of the nodes', nodesOf),
    pod: await step('the side of a pod', insidePod),
    host: { link: await step('the side of its host', hostLink) },
    routerArping: await step('the router looks for the gateway of pods', arpingFromRouter),
    capture: await step('packets between the LANs', captureBetweenLans),
    forged: await step('forged packets', forgeTunnelPackets),
    healing: await step('objects of the kernel are deleted', breakThings),
    offload: await step('a connection past the hooks', offload),
    restart: await step('an agent is killed', killAndRestart),
    plugins: await step('containers of bridge and ptp', plugins),
    lan: await step('containers on the LAN', onLan),
    vrf: await step('an interface in a VRF', inVrf),
    removed: await step('a pod is deleted', removePod),
    moved: await step('a node gets another address', moveNode),
    bonded: await step('an uplink becomes a VLAN of a bond', bonded),
  }
}

async function said(netns: string, ...argv: string[]): Promise<string> {
  const { stdout, stderr } = await runProgram(argv, { netns })
  return (stdout + stderr).trim()
}

async function linesOf(netns: string, ...argv: string[]): Promise<string[]> {
  const text = await said(netns, ...argv)
  return text.split('\n').map(line => line.trim().replace(/ +/g, ' '))
}

async function nodesOf(lab: Lab): Promise<Observations['nodes']> {
  return Promise.all(
    lab.plan.nodes.map(async ({ name, address, netns }) => ({
      ...{ name, address, routes: await linesOf(netns, 'ip', '-4', 'route') },
      pods: lab.pods.filter(({ node }) => node.name === name).map(at => at.address),
    })),
  )
}

async function insidePod(lab: Lab): Promise<Observations['pod']> {
  const { pod, address } = lab.pods[0]!
  return {
    address,
    link: await said(pod.netns, 'ip', '-o', 'link', 'show', 'eth0'),
    addresses: await said(pod.netns, 'ip', '-o', '-4', 'addr', 'show', 'dev', 'eth0'),
    routes: await linesOf(pod.netns, 'ip', 'r'),
    arping: await said(pod.netns, 'arping', '-c1', '169.254.1.1'),
  }
}

async function arpingFromRouter({ plan }: Lab): Promise<string> {
  return said(plan.router.netns, 'arping', '-c1', '-w1', '-I', plan.nodes[0]!.lan.bridge, '169.254.1.1')
}

/** The host's end of the first pod's cable, as `ip link` shows it on the node. */
async function hostLink(lab: Lab): Promise<string> {
  const { node, address } = lab.pods[0]!
  const route = await said(node.netns, 'ip', 'route', 'show', address)
  const name = / dev (\S+)/.exec(route)?.[1] ?? 'none'
  return said(node.netns, 'ip', '-o', 'link', 'show', name)
}

/** Two pods on different LANs ping each other while tcpdump listens where the router routes. */
async function captureBetweenLans(lab: Lab, { patience }: ScenarioOptions): Promise<string[]> {
  const far = lab.pods.find(({ node }) => node.lan.name === 'B')
  const near = lab.pods.find(({ node }) => node.lan.name === 'A')
  if (far === undefined || near === undefined) throw new Error('the scenario needs a node on each LAN')
  const argv = [
    'tcpdump',
    '-n',
    '-l',
    '--immediate-mode',
    '-Z',
    'root',
    '-i',
    far.node.lan.bridge,
    'ip',
    'and',
    'not',
    'tcp',
  ]
  const dump = new Listener(lab.plan.router.netns, argv)
  await using _ = dump
  await dump.saw(line => line.includes('listening on'), 'listening on', 10_000 * patience)
  await said(near.pod.netns, 'ping', '-n', '-c', '3', '-i', '0.2', far.address)
  await said(far.pod.netns, 'ping', '-n', '-c', '3', '-i', '0.2', near.address)
  // Six pings, there and back.
  await until(() => dump.lines.filter(line => /ICMP echo/.test(line)).length >= 12, 5000 * patience)
  return packetsOf(dump.lines)
}

const FORGED_PORT = 7777

/** IP-in-IP and VXLAN around a datagram for a pod of the last node, from who is no node. */
async function forgeTunnelPackets(lab: Lab, { patience }: ScenarioOptions): Promise<Observations['forged']> {
  const { pod } = lab.pods[0]!
  const [first, last] = [lab.plan.nodes[0]!, lab.plan.nodes.at(-1)!]
  const victim = lab.pods.at(-1)!
  using listener = listenUdp({ name: victim.pod.netns }, '0.0.0.0', FORGED_PORT)
  const inner = ipv4({ from: '10.244.255.9', to: victim.address }, IP_PROTOCOL.udp, udp(5000, FORGED_PORT))
  const frame = ethernet({ from: '66:00:00:00:00:99', to: 'ff:ff:ff:ff:ff:ff' }, ETHERTYPE.ipv4, inner)
  const send = (netns: string, from: string) => {
    const ends = { from, to: last.address }
    sendPacket({ name: netns }, ipv4(ends, IP_PROTOCOL.ipip, inner))
    sendPacket({ name: netns }, ipv4(ends, IP_PROTOCOL.udp, udp(5000, 4789, vxlan(4096, frame))))
  }
  const dropped = async (node: string, kinds: number): Promise<string[]> => {
    let reasons: string[] = []
    await until(
      async () => {
        const status = (await askAgent(lab.agentSocket(node), '/status')) as
          | { dropped: { reason: string; packets: number }[] }
          | undefined
        const tunnels = (status?.dropped ?? []).filter(
          each => each.packets > 0 && / that no node sent$/.test(each.reason),
        )
        reasons = tunnels.map(({ reason }) => reason).sort()
        return reasons.length >= kinds
      },
      2000 * patience,
      20 * patience,
    )
    return reasons
  }
  send(pod.netns, lab.pods[0]!.address)
  const fromPod = await dropped(first.name, 2)
  send(lab.plan.router.netns, last.lan.gateway)
  return { fromPod, fromRouter: await dropped(last.name, 1), heard: listener.heard() }
}

/** tcpdump prints the packet inside of a VXLAN frame on a line of its own: one text per packet on the wire. */
function packetsOf(lines: readonly string[]): string[] {
  const packets: string[] = []
  for (const line of lines) {
    if (/^\d\d:\d\d:\d\d\.\d+ /.test(line)) packets.push(line.trim())
    else if (/^\s*IP /.test(line) && packets.length > 0) packets.push(`${packets.pop()} ${line.trim()}`)
  }
  return packets
}

/** Removes one object after another with `ip`, and waits until the routes read exactly as before. */
async function breakThings(lab: Lab, { patience }: ScenarioOptions): Promise<Observations['healing']> {
  const node = lab.plan.nodes[0]!
  const local = lab.pods.find(at => at.node === node)!
  const far = lab.pods.find(at => at.node.lan !== node.lan)!
  const learned = (await said(node.netns, 'ip', 'route', 'show', 'match', far.address))
    .split('\n')
    .find(line => !line.startsWith('default'))!
  const tunnel = / dev (\S+)/.exec(learned)![1]!
  const commands: [string, string[]][] = [
    ['a learned route is deleted', ['ip', 'route', 'del', learned.split(' ')[0]!]],
    ['a workload route is deleted', ['ip', 'route', 'del', local.address]],
    ['the tunnel device is deleted', ['ip', 'link', 'del', tunnel]],
    ['the tunnel device is set down', ['ip', 'link', 'set', tunnel, 'down']],
    ['the address of the tunnel device is deleted', ['ip', 'addr', 'flush', 'dev', tunnel]],
  ]
  const whole = async () =>
    JSON.stringify([
      // the interface of path probes comes some seconds after the first pod
      (await linesOf(node.netns, 'ip', '-4', 'route')).filter(line => !line.includes(PROBE_INTERFACE)).sort(),
      await linesOf(node.netns, 'ip', '-br', '-4', 'addr', 'show', 'dev', tunnel),
      /<[^>]*\bUP\b/.test(await said(node.netns, 'ip', '-o', 'link', 'show', tunnel)),
    ])
  const healing: Observations['healing'] = []
  for (const [what, argv] of commands) {
    const before = await whole()
    await said(node.netns, ...argv)
    const startMs = performance.now()
    const healed = await until(async () => (await whole()) === before, HEAL_LIMIT_MS * patience, 5 * patience)
    healing.push({ what, ms: healed ? Math.round(performance.now() - startMs) : Number.MAX_SAFE_INTEGER })
  }
  return healing
}

/** Kills the first node's agent in the middle of pings at 100 a second, starts it again, and watches every route. */
async function killAndRestart(lab: Lab, { patience, bfd }: ScenarioOptions): Promise<Observations['restart']> {
  await using mesh = bfd === undefined ? undefined : await watchMesh(lab, bfd, patience)
  const [first, ...others] = lab.plan.nodes.map(({ name }) => lab.pods.find(at => at.node.name === name)!)
  const monitors = lab.plan.nodes.map(({ netns }) => new Listener(netns, ['ip', '-o', '-4', 'monitor', 'route']))
  const ends = others.flatMap(other => [[first!, other] as const, [other, first!] as const])
  const pings = ends.map(([from, to]) => new Listener(from.pod.netns, ['ping', '-n', '-i', '0.01', to.address]))
  await using stack = new AsyncDisposableStack()
  for (const each of [...monitors, ...pings]) stack.use(each)
  /** Until each has `count` more answers than `since` says. */
  const answers = (count: number, since = pings.map(() => 0)) =>
    Promise.all(
      pings.map((each, i) =>
        each.saw(line => sequenceOf(line) >= since[i]! + count, `${count} answers`, 20_000 * patience),
      ),
    )
  await answers(50)
  const killed = pings.map(lastAnswered)
  await lab.killAgent(first!.node.name)
  lab.startAgent(first!.node.name)
  await lab.agentReady(first!.node.name)
  const ready = pings.map(lastAnswered)
  await answers(PINGS_AFTER, ready)
  return {
    pings: pings.map((each, i) => {
      const [from, to] = ends[i]!
      const numbers = { killed: killed[i]!, ready: ready[i]!, last: lastAnswered(each) }
      return { between: `${from.pod.name} to ${to.pod.name}`, ...numbers, unanswered: unanswered(each) }
    }),
    deleted: monitors.flatMap(each => each.lines.filter(line => line.startsWith('Deleted'))),
    watched: await mesh?.watched(),
  }
}

/** Asks for BFD on the mesh, and waits until all of its sessions are up; in the end it is asked for no more. */
async function watchMesh(lab: Lab, bfd: string, patience: number) {
  const { nodes } = lab.plan
  const [first, ...others] = nodes
  type Peer = { address: string; bfd?: { hops: string; state: string; losses: number } }
  const peersOf = async (name: string) =>
    ((await askAgent(lab.agentSocket(name), '/status', 5000 * patience)) as { peers?: Peer[] } | undefined)?.peers ?? []
  const areUp = async () => {
    const all = await Promise.all(nodes.map(({ name }) => peersOf(name)))
    return all.flat().length > 0 && all.flat().every(peer => peer.bfd?.state === 'Up')
  }
  const metadata = { name: 'default', annotations: { 'margay.io/BFD': bfd } }
  const configuration: ClusterObject = { kind: 'BGPConfiguration', object: { metadata, spec: {} } }
  // one that is there stays as it is; the lab's says what counts without it
  await lab.removeObjects([configuration])
  await lab.putObjects([configuration])
  if (!(await until(areUp, 20_000 * patience, 50))) throw new Error('BFD of the mesh did not come up')
  return {
    async watched(): Promise<WatchedMesh> {
      const up = await until(areUp, 20_000 * patience, 50)
      const peers = (await Promise.all(others.map(({ name }) => peersOf(name)))).flat()
      const watching = peers.flatMap(peer => (peer.address === first!.address && peer.bfd ? [peer.bfd] : []))
      return { hops: watching.map(({ hops }) => hops), losses: watching.map(({ losses }) => losses), up }
    },
    [Symbol.asyncDispose]: () => lab.removeObjects([configuration]),
  }
}

async function removePod(lab: Lab): Promise<Observations['removed']> {
  const [first, neighbour] = lab.pods
  const far = lab.pods.at(-1)!
  await lab.deletePod(first!)
  return {
    address: first!.address,
    routes: await linesOf(first!.node.netns, 'ip', '-4', 'route'),
    links: await said(first!.pod.netns, 'ip', '-o', 'link'),
    neighbour: await said(far.pod.netns, 'ping', '-n', '-c', '1', '-W', '5', neighbour!.address),
  }
}

/** Gives the second node another address of its LAN, as DHCP would: the old one goes, with the default route. */
async function moveNode(lab: Lab, { patience }: ScenarioOptions): Promise<Observations['moved']> {
  const [first, node, third] = lab.plan.nodes.map(each => lab.pods.findLast(at => at.node === each)!)
  const { netns } = node!.node
  const gateway = / via (\S+)/.exec(await said(netns, 'ip', 'route', 'show', 'default'))![1]!
  const [old] = /\S+\/\d+/.exec(await said(netns, 'ip', '-o', '-4', 'addr', 'show', 'dev', 'eth0'))!
  const address = old.replace(/\.\d+\//, '.99/')
  await said(netns, 'ip', 'addr', 'del', old, 'dev', 'eth0')
  await said(netns, 'ip', 'addr', 'add', address, 'dev', 'eth0')
  await said(netns, 'ip', 'route', 'add', 'default', 'via', gateway)
  const startMs = performance.now()
  const ping = (from: typeof node) => said(from!.pod.netns, 'ping', '-n', '-c', '1', '-W', '1', node!.address)
  const followed = await until(
    async () => {
      const route = await said(first!.node.netns, 'ip', 'route', 'get', node!.address)
      return route.includes(` via ${address.split('/')[0]} `) && / 0% packet loss/.test(await ping(third))
    },
    MOVE_LIMIT_MS * patience,
    50,
  )
  const ms = followed ? Math.round(performance.now() - startMs) : Number.MAX_SAFE_INTEGER
  return { ms, pings: [await ping(first), await ping(third)] }
}
