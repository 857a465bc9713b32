// The tables of other projects with real packets: their policies are enforced by a kernel in which all pods are on one node,
// and the first packet of each connection passes where the table says so. Each table is played over IPv4, and with every
// address and network in it made one of IPv6.
import test, { type ExecutionContext } from 'ava'
import { openKernel } from '../../kernel/linux/kernel.ts'
import type { Kernel } from '../../kernel/port/kernel.ts'
import { addressBytes } from '../../lib/ip.ts'
import { ethernet, sendFrames } from '../felix/frames.ts'
import { nft } from '../kernel/nftables-programs.ts'
import { isRoot, type ScratchNetns, scratchNetns } from '../kernel/scratch-netns.ts'
import { type ClusterRow, clusterPokes, type ReachCase, reachWorld, testRows } from './corpora.ts'
import { enforce, prepareNode } from './kernel-node.ts'
import { keyOf } from './model.ts'
import { octetsOf } from './packets.ts'
import { ofKind, type Pod, type World } from './reference/objects.ts'

const PROTOCOLS = { TCP: 6, UDP: 17, SCTP: 132 } as const
type Transport = keyof typeof PROTOCOLS
/** Fewer than a kernel takes in before it works on them (net.core.netdev_max_backlog). */
const AT_ONCE = 250
const PODS = 11
const PROBE = { family: 'inet', name: 'probe' } as const
const IN_PROBE = { family: 'inet', table: 'probe' } as const
const PASSED = ['passed4', 'passed6']
/** Notes the connections of the packets behind policy, and counts those in front of it. Each packet is a new connection. */
const PROBE_TEXT = `table inet probe {
  set passed4 { typeof ip saddr . ip daddr . meta l4proto . th dport; flags dynamic; size 65535; }
  set passed6 { typeof ip6 saddr . ip6 daddr . meta l4proto . th dport; flags dynamic; size 65535; }
  chain early { type filter hook prerouting priority -300; counter notrack; }
  chain passed {
    type filter hook forward priority 100
    add @passed4 { ip saddr . ip daddr . meta l4proto . th dport }
    add @passed6 { ip6 saddr . ip6 daddr . meta l4proto . th dport }
  }
}`

type Connection = { from: string; to: string; transport: Transport; port: number; allowed: boolean; what: string }

class Node {
  readonly #kernel: Kernel
  readonly #theirs: ScratchNetns
  readonly #macs: ReadonlyMap<string, string>
  #sent = 0

  private constructor(kernel: Kernel, theirs: ScratchNetns, macs: ReadonlyMap<string, string>) {
    this.#kernel = kernel
    this.#theirs = theirs
    this.#macs = macs
  }

  static async with<T>(work: (node: Node) => Promise<T>): Promise<T> {
    using space = scratchNetns()
    using theirs = scratchNetns()
    using host = openKernel()
    using node = host.inside(space.path)
    using other = host.inside(theirs.path)
    await prepareNode(node, other, { theirs, pods: PODS })
    nft(space.path, ['-f', '-'], PROBE_TEXT)
    const macs = new Map((await node.links()).map(({ name, mac }) => [name, mac!]))
    return await work(new Node(node, theirs, macs))
  }

  /** What of the connections passes and should not, or the other way around. */
  async faults(world: World, connections: readonly Connection[]): Promise<string[]> {
    const pods = ofKind(world, 'Pod')
    const names = new Map(pods.map((pod, i) => [keyOf(pod), `cali${i}`]))
    const addresses = new Map(pods.map(pod => [keyOf(pod), pod.status?.podIPs?.[0]?.ip ?? '']))
    const interfaceOf = (pod: Pod) => names.get(keyOf(pod))!
    const { refused } = await enforce(this.#kernel, world, { isHere: () => true, interfaceOf })
    if (refused.length > 0) return [`refused: ${JSON.stringify(refused)}`]
    const keyed = connections.map(connection => {
      const [from, to] = [addresses.get(connection.from)!, addresses.get(connection.to)!]
      const { transport, port } = connection
      const octets = octetsOf({ from, to, protocol: PROTOCOLS[transport], sourcePort: 40_000, destinationPort: port })
      const iif = names.get(connection.from)!
      const type = addressBytes(from).length === 4 ? 0x800 : 0x86dd
      const frame = ethernet({ from: '02:00:00:00:00:01', to: this.#macs.get(iif)! }, type, octets)
      const key = `${from} ${to} ${transport.toLowerCase()} ${port}`
      return { connection, key, sent: [iif, frame] as const }
    })
    for (let i = 0; i < keyed.length; i += AT_ONCE) {
      const some = keyed.slice(i, i + AT_ONCE)
      this.#sent += some.length
      sendFrames(
        this.#theirs,
        some.map(({ sent }) => sent),
      )
      // a busy kernel takes them in later
      while ((await this.#came()) < this.#sent);
    }
    const passed = await this.#passed()
    return keyed
      .filter(({ key, connection }) => passed.has(key) !== connection.allowed)
      .map(({ connection }) => connection.what)
  }

  async #came(): Promise<number> {
    const [counter] = await this.#kernel.ruleCounters({ ...PROBE, chain: 'early' })
    return Number(counter!.packets)
  }

  /** The connections that passed since it was last asked. */
  async #passed(): Promise<Set<string>> {
    const { elements } = (await this.#kernel.nftables(PROBE))!
    await this.#kernel.changeNftables(
      PASSED.map(name => ({ verb: 'flush', object: { kind: 'set', ...IN_PROBE, name } })),
    )
    return new Set(elements.flatMap(set => set.elements.map(({ key }) => key.join(' '))))
  }
}

/** The same with every address and network of IPv4 made one of IPv6 that holds the same. */
function inIpv6<T>(value: T): T {
  const text = JSON.stringify(value).replaceAll(
    /"(\d+)\.(\d+)\.(\d+)\.(\d+)(?:\/(\d+))?"/g,
    (_, a: string, b: string, c: string, d: string, length: string | undefined) => {
      const half = (high: string, low: string) => (Number(high) * 256 + Number(low)).toString(16)
      const all = `${a}.${b}.${c}.${d}/${length}` === '0.0.0.0/0'
      const address = all ? '::' : `fd00::1:${half(a, b)}:${half(c, d)}`
      return JSON.stringify(length === undefined ? address : `${address}/${all ? 0 : 96 + Number(length)}`)
    },
  )
  return JSON.parse(text) as T
}

function tests<Row>(
  file: string,
  cases: (row: Row) => Iterable<{ world: World; connections: readonly Connection[] }>,
): void {
  for (const family of ['IPv4', 'IPv6'] as const)
    testRows<Row>(`over ${family}, packets pass a kernel as ${file} says`, file, async (t, rows) => {
      if (!isRoot) return skip(t)
      await Node.with(async node => {
        const found: string[] = []
        let sent = 0
        for (const row of rows)
          for (const { world, connections } of cases(row)) {
            found.push(...(await node.faults(family === 'IPv4' ? world : inIpv6(world), connections)))
            sent += connections.length
          }
        t.deepEqual(found, [])
        t.log(`${sent} packets`)
        t.true(sent > 0)
      })
    })
}

function skip(t: ExecutionContext): void {
  t.log('skipped: packets are sent by root only')
  t.pass()
}

for (const file of ['cyclonus.ndjson', 'k8s-e2e-netpol.ndjson'])
  tests<ReachCase>(file, function* ({ id, steps }) {
    for (const [i, step] of steps.entries()) {
      const connections = Object.entries(step.expect).flatMap(([served, rows]) => {
        const [transport, port] = served.split('/') as [Transport, string]
        return step.order.flatMap((from, x) =>
          step.order.flatMap((to, y): Connection[] => {
            if (x === y) return []
            const allowed = rows[x]![y] === '.'
            const what = `${id} step ${i}: ${from} to ${to} ${served} passes: ${!allowed}`
            return [{ from, to, transport, port: Number(port), allowed, what }]
          }),
        )
      })
      yield { world: reachWorld(step), connections }
    }
  })

tests<ClusterRow>('cnp-conformance.ndjson', function* (row) {
  const worlds = new Map<string, { world: World; connections: Connection[] }>()
  for (const [i, { poke, world }] of clusterPokes(row).entries()) {
    const what = `${row.file}, ${row.subtest}, poke ${i} passes: ${!poke.allow}`
    const [from, to] = [`${poke.fromNs}/${poke.fromPod}`, poke.to.join('/')]
    const transport = poke.proto.toUpperCase() as Transport
    const key = JSON.stringify(world)
    const same = worlds.get(key) ?? { world, connections: [] }
    worlds.set(key, same)
    same.connections.push({ from, to, transport, port: Number(poke.port), allowed: poke.allow, what })
  }
  yield* worlds.values()
})

test('addresses and networks of IPv4 become ones of IPv6', t => {
  t.deepEqual(inIpv6(['10.99.1.2', '10.99.0.0/16', '0.0.0.0/0', 'x 10.0.0.1']), [
    'fd00::1:a63:102',
    'fd00::1:a63:0/112',
    '::/0',
    'x 10.0.0.1',
  ])
})
