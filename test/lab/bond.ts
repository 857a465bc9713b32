// The first node's uplink becomes a VLAN of a bond of two cables, with its address; then the bond is what breaks: a cable, the MTU,
// the whole device. A kernel without bonding or VLANs has none of it.
import type { Lab } from '../../lab/lab.ts'
import type { PodAt } from '../../lab/measure.ts'
import { runProgram, until } from '../../lab/program.ts'
import { Listener, lastAnswered, sequenceOf, unanswered } from './listener.ts'

/** What was seen of it. */
export type Bonded = {
  /** How long until all pods answer over the VLAN: after the cable became one of the bond, and after the bond was made again. */
  uplinkMs: number
  remadeMs: number
  /** The cable in use, at first, after it failed, and after it came back. */
  active: (string | undefined)[]
  /**
   * While the cable in use fails and comes back: how many pings were sent, 50 in a second, which of them nothing answered, and
   * which routes over the bond went away.
   */
  failover: { sent: number; unanswered: number[]; deleted: string[] }
  /** After the bond has 1,400: of the VLAN, of the tunnel device, and of both ends of a pod. */
  mtu: Record<'vlan' | 'tunnel' | 'pod' | 'host', number | undefined>
  /** What ping said of a packet of full size through the tunnel after that. */
  fullSize: string
}

const BOND = 'bond0'
const VLAN = 10
const MTU = 1400
/** Of IP-in-IP, and of IPv4 and ICMP. */
const [IPIP, ICMP] = [20, 28]
/** How far apart the pings are. */
export const PING_MS = 20
const LIMIT_MS = 10_000

/** Undefined where the kernel has no bonding or no VLANs. The node keeps its uplink of that kind. */
export async function bonded(lab: Lab, { patience }: { patience: number }): Promise<Bonded | undefined> {
  const node = lab.plan.nodes[0]!
  const { netns } = node
  const router = lab.plan.router.netns
  const pod = lab.pods.find(at => at.node === node)!
  const [near, far] = [false, true].map(
    isFar => lab.pods.find(at => isFar === (at.node.lan !== node.lan) && at.node !== node)!,
  )
  if (!(await hasBonds(router))) return undefined

  /** Waits until the node leads to its neighbour by the VLAN, and pods of both others answer; how long that took. */
  const asItShould = async (): Promise<number> => {
    const startMs = performance.now()
    const isSo = async () => {
      const route = await said(netns, 'ip', 'route', 'get', near!.address)
      return route.includes(` dev ${BOND}.${VLAN} `) && (await answers(pod, near!)) && (await answers(pod, far!))
    }
    const done = await until(isSo, LIMIT_MS * patience, 50)
    return done ? Math.round(performance.now() - startMs) : Number.MAX_SAFE_INTEGER
  }

  const { lan, address, name } = node
  await ip(router, [
    'link add trunk up type bridge',
    `link set ${name} master trunk`,
    `link add ${name}b up type veth peer name eth1 netns ${netns}`,
    `link set ${name}b master trunk`,
    `link add link trunk name trunk.${VLAN} up type vlan id ${VLAN}`,
    `link set trunk.${VLAN} master ${lan.bridge}`,
  ])
  const bond = () =>
    ip(netns, [
      ...['link set eth0 down', 'link set eth1 down'],
      `link add ${BOND} type bond mode active-backup miimon 100`,
      ...[`link set eth0 master ${BOND}`, `link set eth1 master ${BOND}`, `link set ${BOND} up`],
      `link add link ${BOND} name ${BOND}.${VLAN} up type vlan id ${VLAN}`,
      `addr add ${address}/${lan.length} dev ${BOND}.${VLAN}`,
      `route add default via ${lan.gateway}`,
    ])
  await ip(netns, ['addr flush dev eth0'])
  await bond()
  const uplinkMs = await asItShould()

  const active = [await activeOf(netns, 2, LIMIT_MS * patience)]
  const failover = await breakCable()

  await ip(netns, [`link set ${BOND} mtu ${MTU}`])
  const deviceTo = async (to: PodAt) => / dev (\S+)/.exec(await said(netns, 'ip', 'route', 'get', to.address))![1]!
  const [tunnel, host] = [await deviceTo(far!), await deviceTo(pod)]
  let inPod: number | undefined
  const isSmaller = async () => {
    inPod = (await links(pod.pod.netns, 'dev', 'eth0'))[0]?.mtu
    return inPod === MTU - IPIP
  }
  await until(isSmaller, LIMIT_MS * patience, 50)
  const of = new Map((await links(netns)).map(({ ifname, mtu }) => [ifname, mtu]))
  const mtu = { vlan: of.get(`${BOND}.${VLAN}`), tunnel: of.get(tunnel), pod: inPod, host: of.get(host) }
  const size = `${MTU - IPIP - ICMP}`
  const fullSize = await said(
    pod.pod.netns,
    ...['ping', '-n', '-c', '1', '-W', '10', '-M', 'do', '-s', size, far!.address],
  )

  await ip(netns, [`link del ${BOND}`])
  await bond()
  return { uplinkMs, remadeMs: await asItShould(), active, failover, mtu, fullSize }

  async function breakCable(): Promise<Bonded['failover']> {
    await using monitor = new Listener(netns, ['ip', '-o', '-4', 'monitor', 'route'])
    await using pings = new Listener(pod.pod.netns, ['ping', '-n', '-i', `${PING_MS / 1000}`, near!.address])
    const more = (count: number) => {
      const since = lastAnswered(pings)
      return pings.saw(line => sequenceOf(line) >= since + count, `${count} answers`, LIMIT_MS * patience)
    }
    const port = active[0] === 'eth0' ? name : `${name}b`
    await more(10)
    for (const [state, count] of [
      ['down', 1],
      ['up', 2],
    ] as const) {
      const before = lastAnswered(pings)
      await ip(router, [`link set ${port} ${state}`])
      active.push(await activeOf(netns, count, LIMIT_MS * patience))
      await pings.saw(line => sequenceOf(line) > before, 'answer', LIMIT_MS * patience)
      await more(10)
    }
    const deleted = monitor.lines.filter(line => line.startsWith('Deleted') && line.includes(` dev ${BOND}`))
    return { sent: lastAnswered(pings), unanswered: unanswered(pings), deleted }
  }
}

async function hasBonds(netns: string): Promise<boolean> {
  try {
    await ip(netns, ['link add probe type bond', `link add link probe name probe.${VLAN} type vlan id ${VLAN}`])
    return true
  } catch {
    return false
  } finally {
    await runProgram(['ip', 'link', 'del', 'probe'], { netns })
  }
}

/** Runs commands of `ip` in order; throws what it says. */
async function ip(netns: string, commands: readonly string[]): Promise<void> {
  const { code, stderr } = await runProgram(['ip', '-batch', '-'], { netns, stdin: `${commands.join('\n')}\n` })
  if (code !== 0) throw new Error(`ip in ${netns}: ${stderr}`)
}

async function said(netns: string, ...argv: string[]): Promise<string> {
  const { stdout, stderr } = await runProgram(argv, { netns })
  return (stdout + stderr).trim()
}

async function answers(from: PodAt, to: PodAt): Promise<boolean> {
  return / 0% packet loss/.test(await said(from.pod.netns, 'ping', '-n', '-c', '1', '-W', '1', to.address))
}

type LinkJson = {
  ifname: string
  mtu: number
  linkinfo?: { info_slave_data?: { state?: string; mii_status?: string } }
}

/** What `ip` says of all links, or of those that more words ask for. */
async function links(netns: string, ...more: string[]): Promise<LinkJson[]> {
  const { stdout } = await runProgram(['ip', '-d', '-j', 'link', 'show', ...more], { netns })
  return JSON.parse(stdout) as LinkJson[]
}

/** The cable in use, once so many of the bond's have a carrier. */
async function activeOf(netns: string, count: number, limitMs: number): Promise<string | undefined> {
  let active: string | undefined
  const isSo = async () => {
    const cables = (await links(netns, 'master', BOND)).map(({ ifname, linkinfo }) => ({
      ifname,
      ...linkinfo?.info_slave_data,
    }))
    active = cables.find(({ state }) => state === 'ACTIVE')?.ifname
    return cables.filter(cable => cable.mii_status === 'UP').length === count
  }
  return (await until(isSo, limitMs, 50)) ? active : undefined
}
