// A probe between pods of two nodes, over VXLAN and a router, followed on both: whoever drops or translates it is named by its table, its
// chain and its rule, whatever program wrote them; and where nobody does, it is seen to leave one node and not to come to the other.
// Over 400 lines: all cases share one world of two nodes, which takes a second to make.
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import anyTest, { type TestFn } from 'ava'
import { Tracer } from '../../../agent/trace/tracer.ts'
import type { ProbePacket, TraceFacts, TraceOrder } from '../../../api/trace.ts'
import { closeDescriptor, openSocket, SOCKET_FAMILY, SOCKET_TYPE, sendTo } from '../../../kernel/libc.ts'
import { netnsPath, runInNetns } from '../../../kernel/netns.ts'
import { sendProbe } from '../../../kernel/probe-sender.ts'
import { socketAddress } from '../../../kernel/sockopt.ts'
import { ManualClock } from '../../../lib/clock.ts'
import { silentLog } from '../../../lib/log.ts'
import { systemProgram } from '../../../lib/system-program.ts'
import { isRoot } from '../../felix/netns.ts'
import { type Net, type Node, twoNodes } from '../../felix/two-nodes.ts'
import { ANSWER_MS } from '../../slowness.ts'

const test = anyTest.serial as TestFn
const netns = isRoot ? test : test.skip
if (!isRoot)
  test('probes are followed by root only', t => {
    t.log('skipped: needs root')
    t.pass()
  })

/** How long a packet waits whose answer is not to come. */
const SILENCE_MS = 30
const [A, B] = ['10.244.1.5', '10.244.2.5']
let net: Net
let markers = 0

function tracerOf({ n, host, pod, ipv6 }: Node, waitMs: number): Tracer {
  const [kernel, address] = [host.kernel, ipv6 ? `fd00:10:${n}::5` : `10.244.${n}.5`]
  return new Tracer({
    ...{
      kernel,
      nodeName: `n${n}`,
      table: 'margay-trace',
      interfacePrefix: 'cali',
      clock: new ManualClock(),
      log: silentLog,
    },
    isOurs: table => table === 'margay' || table.startsWith('margay-'),
    podAt: asked => (asked === address ? { netns: netnsPath(pod.name), interfaceName: `calipod${n}` } : undefined),
    send: (from, probe, { most }) => sendProbe(from ?? netnsPath(host.name), probe, { most, waitMs }),
  })
}

type Followed = Record<'near' | 'far' | 'nearBack' | 'farBack', TraceFacts>

/** What both nodes say of a probe: of its packets, and of the answers. */
async function follow(packet: ProbePacket, waitMs: number, of = net): Promise<Followed> {
  const marker = `${process.pid.toString(16)}${(++markers).toString(16).padStart(6, '0')}`.padStart(16, '5eedfeed')
  const [near, far] = of.nodes.map(node => tracerOf(node, waitMs)) as [Tracer, Tracer]
  const ordered = async (tracer: Tracer, order: TraceOrder) => {
    const answer = await tracer.answer(order)
    if ('status' in answer) throw new Error(answer.error)
    return 'facts' in answer ? answer.facts : []
  }
  const both = (order: TraceOrder) => Promise.all([near, far].map(tracer => ordered(tracer, order)))
  await both({ do: 'arm', packet, marker })
  await ordered(near, { do: 'send', marker })
  const [[there, nearBack], [farThere, farBack]] = (await both({ do: 'collect', marker })) as [
    TraceFacts[],
    TraceFacts[],
  ]
  return { near: there!, nearBack: nearBack!, far: farThere!, farBack: farBack! }
}

const answered = (packet: ProbePacket, of?: Net) => follow(packet, ANSWER_MS, of)
const unanswered = (packet: ProbePacket, of?: Net) => follow(packet, SILENCE_MS, of)

if (isRoot) {
  test.before(async () => {
    net = await twoNodes()
    // everybody knows his neighbours
    await answered(ECHO)
  })
  test.after.always(() => net?.[Symbol.asyncDispose]())
}

function run(name: string, program: string, args: readonly string[], input?: string): void {
  const words = [`--net=${netnsPath(name)}`, '--', systemProgram(program), ...args]
  execFileSync(systemProgram('nsenter'), words, { stdio: ['pipe', 'pipe', 'pipe'], input })
}

/** Runs `body` while a table of another program is in a namespace. Statements are told apart by `;`. */
async function withTable<T>(name: string, text: string, body: () => Promise<T>): Promise<T> {
  run(name, 'nft', ['-f', '-'], text.replaceAll('}', '\n}\n'))
  try {
    return await body()
  } finally {
    const [, family, table] = text.split(' ')
    run(name, 'nft', ['delete', 'table', family!, table!])
  }
}

const EMPTY_TABLES = '*filter\n:INPUT ACCEPT\n:FORWARD ACCEPT\n:OUTPUT ACCEPT\nCOMMIT\n*nat\nCOMMIT\n'

/** Runs `body` while rules of iptables are in a namespace. */
async function withRules<T>(
  name: string,
  program: string,
  rules: readonly string[],
  body: () => Promise<T>,
): Promise<T> {
  try {
    for (const rule of rules) run(name, program, rule.split(' '))
    return await body()
  } finally {
    run(name, `${program}-restore`, [], EMPTY_TABLES)
  }
}

/** Whether this machine has the program, and its kernel what it needs. */
function has(name: string, program: string): boolean {
  try {
    run(name, program, ['-S', 'FORWARD'])
    return true
  } catch {
    return false
  }
}

const host = (n: 1 | 2) => net.nodes[n - 1]!.host.name
const ECHO: ProbePacket = { source: A, destination: B, protocol: 'icmp' }
const CONNECT: ProbePacket = { source: A, destination: B, protocol: 'tcp', destinationPort: 8080 }

netns(
  'an echo that is answered is seen at each place of both nodes, in its tunnel too, and leaves nothing',
  async t => {
    const { near, nearBack, far, farBack } = await answered(ECHO)
    t.like(near, { sent: 1, cameIn: 1, left: 1, outcome: 'answered', dropped: undefined, incomplete: false })
    t.like(near.outer, { cameIn: 1, left: 1 })
    t.like(far, { sent: 0, cameIn: 1, left: 1, received: 1, outer: { cameIn: 1, left: 1, received: 1 } })
    t.like(farBack, { cameIn: 1, left: 1, outer: { cameIn: 1, left: 1 } })
    t.like(nearBack, { cameIn: 1, left: 1, received: 1 })
    t.deepEqual(
      [near, far, nearBack, farBack].flatMap(({ translated, dropped }) => translated ?? dropped ?? []),
      [],
    )
    for (const { host } of net.nodes) {
      t.is(await host.kernel.nftables({ family: 'inet', name: 'margay-trace' }), undefined)
      await host.kernel.flowsOf(new Set([A, B]), flow => t.not(flow.original.protocol, 1, JSON.stringify(flow)))
    }
  },
)

for (const [title, n, text, expected] of [
  [
    'prerouting',
    1,
    'table ip raw2 { chain pre { type filter hook prerouting priority -310; icmp type echo-request ip daddr 10.244.2.5 counter drop}}',
    {
      ...{ family: 'ip', table: 'raw2', chain: 'pre', hook: 'prerouting', outer: false },
      rule: 'icmp type echo-request ip daddr 10.244.2.5 counter drop',
    },
  ],
  [
    'forward, in a chain that is jumped to, with a comment',
    2,
    'table inet fw { chain through { type filter hook forward priority 0; ip saddr 10.244.1.0/24 jump guests}chain guests { meta l4proto icmp drop comment "no guests"}}',
    {
      ...{ family: 'inet', table: 'fw', chain: 'guests', hook: 'forward', outer: false },
      rule: 'meta l4proto icmp drop (no guests)',
    },
  ],
  [
    'input, by policy',
    2,
    'table inet fw { chain in { type filter hook input priority 5; policy drop; tcp dport 22 accept}}',
    { family: 'inet', table: 'fw', chain: 'in', hook: 'input', rule: 'policy drop', outer: true },
  ],
  [
    'input, where the packet of the tunnel is',
    2,
    'table inet fw { chain in { type filter hook input priority 0; udp dport 4789 drop}}',
    { family: 'inet', table: 'fw', chain: 'in', hook: 'input', rule: 'udp dport 4789 drop', outer: true },
  ],
  [
    'output, where the packet of the tunnel is',
    1,
    'table inet fw { chain out { type filter hook output priority 0; meta l4proto udp drop}}',
    { family: 'inet', table: 'fw', chain: 'out', hook: 'output', rule: 'meta l4proto udp drop', outer: true },
  ],
  [
    'postrouting',
    1,
    'table inet fw { chain post { type filter hook postrouting priority 200; oifname "vxlan.calico" drop}}',
    {
      family: 'inet',
      table: 'fw',
      chain: 'post',
      hook: 'postrouting',
      rule: 'oifname "vxlan.calico" drop',
      outer: false,
    },
  ],
  [
    'the ingress of an interface',
    2,
    'table netdev fw { chain ing { type filter hook ingress device "eth0" priority 0; udp dport 4789 drop}}',
    { family: 'netdev', table: 'fw', chain: 'ing', hook: 'ingress', outer: true },
  ],
  [
    'the egress of an interface',
    1,
    'table netdev fw { chain eg { type filter hook egress device "eth0" priority 0; udp dport 4789 drop}}',
    { family: 'netdev', table: 'fw', chain: 'eg', hook: 'egress', outer: true },
  ],
] as const)
  netns(`what a foreign table drops at ${title} is named`, async t => {
    const { near, far } = await withTable(host(n), text, () => unanswered(ECHO))
    const [at, other] = n === 1 ? [near, far] : [far, near]
    t.like(near, { outcome: 'silent', sent: 3 })
    t.like(at.dropped, { ...expected, ours: false, count: 3 })
    t.is(other.dropped, undefined)
    t.false(at.incomplete)
  })

netns('what a foreign table rejects is named, and who said so', async t => {
  const text =
    'table inet fw { chain through { type filter hook forward priority 0; tcp dport 8080 reject with icmpx type admin-prohibited}}'
  const { near, far } = await withTable(host(2), text, () => answered(CONNECT))
  t.like(near, { outcome: 'unreachable', sent: 1, said: 'filtered, says 10.244.2.1' })
  t.like(far.dropped, { table: 'fw', chain: 'through', hook: 'forward', count: 1 })
  t.regex(far.dropped!.rule, /^tcp dport 8080 reject/)
})

netns('what is dropped on its way back is named there', async t => {
  const text = 'table inet fw { chain through { type filter hook forward priority 0; icmp type echo-reply drop}}'
  const { near, nearBack, far, farBack } = await withTable(host(1), text, () => unanswered(ECHO))
  t.deepEqual(
    [near, far, farBack].map(({ dropped }) => dropped),
    [undefined, undefined, undefined],
  )
  t.like(nearBack.dropped, { table: 'fw', rule: 'icmp type echo-reply drop', count: 3 })
  t.like(far, { cameIn: 3, left: 3 })
})

netns('rules of iptables-nft are named like those of nft', async t => {
  const rules = ['-N guests', '-A FORWARD -d 10.244.2.5 -p icmp -j guests', '-A guests -j DROP']
  const { far } = await withRules(host(2), 'iptables-nft', rules, () => unanswered(ECHO))
  t.like(far.dropped, { family: 'ip', table: 'filter', chain: 'guests', hook: 'forward', ours: false, count: 3 })
  const reject = ['-A FORWARD -d 10.244.2.5 -p tcp -j REJECT --reject-with tcp-reset']
  const refused = await withRules(host(2), 'iptables-nft', reject, () => answered(CONNECT))
  t.like(refused.near, { outcome: 'refused' })
  t.like(refused.far, { cameIn: 1, left: 0, dropped: { table: 'filter', chain: 'FORWARD', count: 1 } })
  const policy = await withRules(host(2), 'iptables-nft', ['-P INPUT DROP'], () => unanswered(ECHO))
  t.like(policy.far.dropped, { table: 'filter', chain: 'INPUT', rule: 'policy drop', outer: true })
})

netns('a rule or a policy of iptables-legacy is named by its counter, which counted just these packets', async t => {
  if (!has(host(2), 'iptables-legacy')) return t.pass('there is none here')
  // rules that count as well as any, and do not drop, are none
  const rules = ['-A FORWARD -d 10.244.2.5 -j ACCEPT', '-I FORWARD 1 -s 10.244.1.5 -p icmp -j DROP']
  const { far } = await withRules(host(2), 'iptables-legacy', rules, () => unanswered(ECHO))
  t.deepEqual(far.dropped, {
    ...{ family: 'iptables-legacy', table: 'filter', chain: 'FORWARD', rule: 'rule 1 (DROP)', ours: false, count: 3 },
    outer: false,
  })
  const policy = await withRules(host(1), 'iptables-legacy', ['-P OUTPUT DROP'], () => unanswered(ECHO))
  t.like(policy.near.dropped, { chain: 'OUTPUT', rule: 'policy DROP', outer: true })
})

netns('whoever gives the packets another address is named, also where they arrive', async t => {
  const nft =
    'table ip other { chain post { type nat hook postrouting priority 100; ip saddr 10.244.0.0/16 masquerade}}'
  const { near, far } = await withTable(host(1), nft, () => answered(ECHO))
  t.deepEqual(near.translated, {
    by: {
      ...{ family: 'ip', table: 'other', chain: 'post', rule: 'ip saddr 10.244.0.0/16 masquerade', ours: false },
      hook: 'postrouting',
    },
    source: '10.244.1.1',
  })
  t.like(far, { cameIn: 1, left: 1, translated: undefined })
  const dnat = '-t nat -A PREROUTING -d 10.244.2.5 -p tcp --dport 8080 -j DNAT --to-destination 10.244.2.5:8081'
  const other = await withRules(host(1), 'iptables-nft', [dnat], () => answered(CONNECT))
  t.like(other.near.translated, { by: { table: 'nat', chain: 'PREROUTING', ours: false }, destinationPort: 8081 })
  if (!has(host(1), 'iptables-legacy')) return
  const legacy = ['-t nat -A POSTROUTING -s 10.244.1.5 -j MASQUERADE']
  const unnamed = await withRules(host(1), 'iptables-legacy', legacy, () => answered(ECHO))
  t.deepEqual(unnamed.near.translated, { source: '10.244.1.1' })
})

netns('a packet that the network loses left one node and did not come to the other', async t => {
  const text = 'table inet cloud { chain through { type filter hook forward priority 0; udp dport 4789 drop}}'
  const { near, far } = await withTable(net.router.name, text, () => unanswered(ECHO))
  t.like(near, { cameIn: 3, left: 3, dropped: undefined, outer: { cameIn: 3, left: 3 } })
  t.like(far, { cameIn: 0, left: 0, received: 0, outer: undefined, dropped: undefined })
})

netns('a reverse path filter that drops the packets is counted', async t => {
  const { kernel } = net.nodes[1].host
  // felix leaves the setting of all interfaces as it is, but makes that of its tunnel loose when it looks: a source that is nowhere is
  // dropped then too. It leaves a static route, but not one of the protocol of its own to pods
  const set = (value: string) => kernel.writeSysctl('ipv4', ['conf', 'all', 'rp_filter'], value)
  const nowhere = { dst: `${A}/32`, table: 254, type: 'unreachable', protocol: 4, scope: 0 } as const
  await kernel.changeRoutes([{ verb: 'add', route: nowhere }])
  set('1')
  try {
    const { far } = await unanswered(ECHO)
    t.like(far, { cameIn: 3, left: 0, reversePathDrops: 3, dropped: undefined, incomplete: false })
  } finally {
    await kernel.changeRoutes([{ verb: 'delete', route: nowhere }])
    set('0')
  }
})

netns('a connection attempt ends with the first answer, and the program that listens hears of none', async t => {
  const refused = await answered(CONNECT)
  t.like(refused.near, { outcome: 'refused', sent: 1, said: `connection refused, says ${B}` })
  t.like(refused.far, { cameIn: 1, left: 1, dropped: undefined })
  t.like(refused.farBack, { cameIn: 1 }, 'the pod itself refused')
  const program = `const server = require('node:net').createServer(() => console.log('connected'))
    server.listen(8080, '${B}', () => console.log('listening'))`
  const words = [`--net=${netnsPath(net.nodes[1].pod.name)}`, '--', process.execPath, '-e', program]
  const listener = spawn(systemProgram('nsenter'), words, { stdio: ['ignore', 'pipe', 'inherit'] })
  try {
    let said = ''
    listener.stdout.setEncoding('utf8').on('data', (text: string) => {
      said += text
    })
    await once(listener.stdout, 'data')
    const { near, far } = await answered(CONNECT)
    t.like(near, { outcome: 'answered', sent: 1 })
    t.like(far, { cameIn: 1, left: 1 })
    t.is(said, 'listening\n')
  } finally {
    listener.kill()
    await once(listener, 'exit')
  }
})

netns('a datagram is sent with eight octets, and a port that nobody has says so', async t => {
  const { near, farBack, far } = await answered({ source: A, destination: B, protocol: 'udp', destinationPort: 5353 })
  t.like(near, { outcome: 'refused', sent: 1, said: `port unreachable, says ${B}` })
  t.like(far, { cameIn: 1, left: 1 })
  t.is(farBack.cameIn, 0, 'what ICMP says is no answer')
})

netns('a datagram of anybody else is no answer', async t => {
  const stranger = runInNetns(netnsPath(host(1)), () =>
    openSocket(SOCKET_FAMILY.ipv4, SOCKET_TYPE.datagram, 0, 'other'),
  )
  const writes = setInterval(() => sendTo(stranger, Buffer.alloc(8), socketAddress(A, 40_000), A), 2)
  const text = 'table inet cloud { chain through { type filter hook forward priority 0; udp dport 4789 drop}}'
  try {
    const packet = { source: A, destination: B, protocol: 'udp', sourcePort: 40_000, destinationPort: 5353 } as const
    const { near } = await withTable(net.router.name, text, () => unanswered(packet))
    t.like(near, { outcome: 'silent', sent: 3 })
  } finally {
    clearInterval(writes)
    closeDescriptor(stranger)
  }
})

netns(
  'a packet of a length is not fragmented: whoever finds it too large says so, or it never comes to the node',
  async t => {
    t.like((await answered({ ...ECHO, length: 1450 })).near, { outcome: 'answered' })
    const { near: between } = await answered({ ...ECHO, length: 1451 })
    t.like(between, { outcome: 'unreachable', sent: 1, cameIn: 1, left: 0, said: 'too big, says 192.168.10.11' })
    // the pod's own end has 1500, that of the node 1450, which drops without a word
    t.like((await unanswered({ ...ECHO, length: 1490 })).near, { outcome: 'silent', sent: 3, cameIn: 0, received: 0 })
    t.like((await answered({ ...ECHO, length: 1501 })).near, {
      ...{ outcome: 'unreachable', sent: 0, said: "longer than the MTU of the sender's own interface" },
    })
  },
)

netns('a probe from the node itself is made there, and one from an address of nobody is not sent', async t => {
  const { near, far } = await answered({ ...ECHO, source: '10.244.1.1' })
  t.like(near, { outcome: 'answered', cameIn: 1, left: 1 })
  t.like(far, { cameIn: 1, left: 1 })
  const { near: nobody } = await unanswered({ ...ECHO, source: '10.244.1.9' })
  t.like(nobody, { outcome: 'unreachable', sent: 0, cameIn: 0 })
  t.regex(nobody.said!, /^bind 10\.244\.1\.9: EADDRNOTAVAIL/)
})

netns('probes of IPv6 are followed the same way', async t => {
  const ipv6 = await twoNodes({ ipv6: true })
  try {
    const packet = { source: 'fd00:10:1::5', destination: 'fd00:10:2::5' }
    const { near, far } = await answered({ ...packet, protocol: 'icmpv6' }, ipv6)
    t.like(near, { outcome: 'answered', sent: 1, cameIn: 1, left: 1, outer: { left: 1 } })
    t.like(far, { cameIn: 1, left: 1, outer: { received: 1 } })
    const name = ipv6.nodes[1].host.name
    const text = 'table ip6 fw { chain through { type filter hook forward priority 0; tcp dport 8080 drop}}'
    const tcp = { ...packet, protocol: 'tcp', destinationPort: 8080 } as const
    const dropped = await withTable(name, text, () => unanswered(tcp, ipv6))
    t.like(dropped.far.dropped, { family: 'ip6', table: 'fw', rule: 'tcp dport 8080 drop', count: 3 })
    t.like((await answered(tcp, ipv6)).near, {
      outcome: 'refused',
      said: `connection refused, says ${packet.destination}`,
    })
    const udp = { ...packet, protocol: 'udp', destinationPort: 5353 } as const
    t.like((await answered(udp, ipv6)).near, {
      outcome: 'refused',
      said: `port unreachable, says ${packet.destination}`,
    })
    t.regex((await answered({ ...packet, protocol: 'icmpv6', length: 1451 }, ipv6)).near.said!, /^too big, says /)
  } finally {
    await ipv6[Symbol.asyncDispose]()
  }
})

netns('an agent that is killed while it follows a probe leaves nothing in the kernel', async t => {
  const [{ host }] = net.nodes
  const table = () => host.kernel.nftables({ family: 'inet', name: 'margay-trace' })
  const program = fileURLToPath(new URL('armed-child.ts', import.meta.url))
  const child = spawn(process.execPath, [program, netnsPath(host.name)], { stdio: ['ignore', 'pipe', 'inherit'] })
  const [said] = await once(child.stdout, 'data')
  t.is(String(said), '{"armed":true}\n')
  t.not(await table(), undefined)
  child.kill('SIGKILL')
  await once(child, 'exit')
  t.is(await table(), undefined)
})
