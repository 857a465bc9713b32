// Arbitrary clusters in a real kernel: objects of the API become the table of a node, packets are sent through it, and come
// through where the reference evaluator and the interpreter of rules say so.
import test from 'ava'
import fc from 'fast-check'
import { podProfiles } from '../../agent/cluster/policies/endpoints.ts'
import { PolicyObjects } from '../../agent/cluster/policies/objects.ts'
import { PolicyEnforcer } from '../../felix/enforcer.ts'
import { openKernel } from '../../kernel/linux/kernel.ts'
import type { Kernel } from '../../kernel/port/kernel.ts'
import { ROUTE_PROTOCOL, ROUTE_SCOPE, ROUTE_TABLE, type Route } from '../../kernel/port/routes.ts'
import { ethernet, sendFrame } from '../felix/frames.ts'
import { nft } from '../kernel/nftables-programs.ts'
import { isRoot, type ScratchNetns, scratchNetns } from '../kernel/scratch-netns.ts'
import { hopsOf } from './hops.ts'
import { interpreter } from './interpreter.ts'
import { keyOf, kindOf, resourceOf } from './model.ts'
import { isJudged } from './reference/endpoints.ts'
import { ofKind, type Pod, type World } from './reference/objects.ts'
import { judge } from './reference.ts'
import { cases } from './worlds.ts'

const netns = isRoot ? test : test.skip
if (!isRoot)
  test('packets are sent by root only', t => {
    t.log('skipped: needs root')
    t.pass()
  })

const NODE = 'n1'
const PODS = 6
const UPLINK = 'eth0'
const POLICY = { family: 'inet', name: 'margay-policy' } as const
/** Counts what is left of the packets behind policy. Connections are not tracked: each packet is a new one. */
const PROBE = `table inet probe {
  chain early { type filter hook prerouting priority -300; counter notrack; }
  chain passed { type filter hook forward priority 100; counter; }
  chain arrived { type filter hook input priority 100; counter; }
}`

/** A node with interfaces for pods, `cali0` on, and an uplink, whose other ends are in `theirs` under the same names. */
async function prepare(node: Kernel, other: Kernel, theirs: ScratchNetns): Promise<void> {
  for (const scope of ['all', 'default']) other.writeSysctl('ipv6', ['conf', scope, 'disable_ipv6'], '1')
  for (const scope of ['all', 'default']) node.writeSysctl('ipv4', ['conf', scope, 'rp_filter'], '0')
  for (const family of ['ipv4', 'ipv6'] as const) node.writeSysctl(family, ['conf', 'all', 'forwarding'], '1')
  const lo = (await node.link('lo'))!.index
  await node.setLink(lo, { up: true })
  for (const [address, length] of [
    ['192.0.2.1', 32],
    ['2001:db8::1', 128],
  ] as const)
    await node.addAddress({ ifindex: lo, address, length, scope: ROUTE_SCOPE.universe })
  for (const name of [UPLINK, ...Array.from({ length: PODS }, (_, i) => `cali${i}`)]) {
    await node.createLink({ kind: 'veth', name, peer: { name, netns: theirs.path } })
    for (const kernel of [node, other]) await kernel.setLink((await kernel.link(name))!.index, { up: true })
  }
  for (const dst of ['0.0.0.0/0', '::/0']) await route(node, dst, UPLINK)
}

async function route(node: Kernel, dst: string, interfaceName: string): Promise<void> {
  const value: Route = {
    ...{ dst, table: ROUTE_TABLE.main, type: 'unicast', protocol: ROUTE_PROTOCOL.boot },
    scope: dst.includes(':') ? ROUTE_SCOPE.universe : ROUTE_SCOPE.link,
    ifindex: (await node.link(interfaceName))!.index,
  }
  const [refused] = await node.changeRoutes([{ verb: 'replace', route: value }])
  if (refused !== undefined) throw refused
}

/** Brings the kernel to what the world asks of the node. Returns what was refused. */
async function enforce(
  node: Kernel,
  world: World,
  interfaceOf: (pod: Pod) => string,
  ownSets: number | undefined,
): Promise<readonly unknown[]> {
  const enforcer = new PolicyEnforcer(node, { table: POLICY.name, interfacePrefix: 'cali' }, ownSets)
  const objects = new PolicyObjects(({ kind, key, value }) => enforcer.set(kind, key, value as never))
  for (const object of world.objects) {
    const kind = kindOf(object)
    objects.change(kind, keyOf(object), resourceOf(kind, object))
  }
  for (let i = 1; i <= PODS; i++) for (const dst of [`10.0.0.${i}/32`, `fd00::${i}/128`]) await route(node, dst, UPLINK)
  const here = (pod: Pod) => isJudged(pod) && pod.spec.nodeName === NODE && pod.status?.phase === 'Running'
  for (const pod of ofKind(world, 'Pod').filter(here)) {
    const interfaceName = interfaceOf(pod)
    enforcer.setLocal(keyOf(pod), { interfaceName, profiles: podProfiles(resourceOf('Pod', pod)) })
    for (const { ip } of pod.status?.podIPs ?? [])
      await route(node, `${ip}/${ip.includes(':') ? 128 : 32}`, interfaceName)
  }
  return [...(await enforcer.put()).refused, ...(await enforcer.remove()).refused]
}

/** How many packets came so far, and how many of them were not dropped. */
async function counted(node: Kernel): Promise<{ came: number; passed: number }> {
  const { rules } = (await node.nftables({ family: 'inet', name: 'probe' }))!
  const sum = (of: (chain: string) => boolean) =>
    rules
      .filter(({ chain }) => of(chain))
      .flatMap(({ expressions }) => expressions)
      .reduce((all, each) => all + (each.type === 'counter' ? Number(each.packets ?? 0n) : 0), 0)
  return { came: sum(chain => chain === 'early'), passed: sum(chain => chain !== 'early') }
}

netns('packets of arbitrary clusters pass a kernel where the evaluator and the interpreter let them', async t => {
  using space = scratchNetns()
  using theirs = scratchNetns()
  using host = openKernel()
  using node = host.inside(space.path)
  using other = host.inside(theirs.path)
  await prepare(node, other, theirs)
  nft(space.path, ['-f', '-'], PROBE)
  const macs = new Map((await node.links()).map(({ name, mac }) => [name, mac!]))
  const found: string[] = []
  let sent = 0
  let passed = 0
  // each world begins with the table of the one before
  const worlds = fc.sample(cases({ without: ['domains'] }), { seed: 7, numRuns: 40 })
  for (const [n, { world, packets }] of worlds.entries()) {
    const names = new Map(ofKind(world, 'Pod').map((pod, i) => [keyOf(pod), `cali${i}`]))
    const interfaceOf = (pod: Pod) => names.get(keyOf(pod))!
    t.deepEqual(await enforce(node, world, interfaceOf, [undefined, 0, 1][n % 3]), [])
    const walk = interpreter([(await node.nftables(POLICY))!])
    for (const packet of packets) {
      const hops = hopsOf(world, packet, { interfaceOf })
      const { allowed } = judge(world, packet)
      for (const hop of hops) {
        const { iif, bytes } = hop.packet
        if (hop.node !== NODE || iif === undefined) continue
        const type = bytes[0]! >> 4 === 4 ? 0x800 : 0x86dd
        const before = await counted(node)
        sendFrame(theirs, iif, ethernet({ from: '02:00:00:00:00:01', to: macs.get(iif)! }, type, bytes))
        // a busy kernel takes it in later
        while ((await counted(node)).came === before.came);
        const passes = (await counted(node)).passed > before.passed
        sent++
        if (passes) passed++
        const own = walk(hop.packet).verdict === 'accept'
        const fits = hops.length === 1 ? passes === allowed : passes || !allowed
        if (passes !== own || !fits)
          found.push(`${JSON.stringify(packet)}: kernel ${passes}, interpreter ${own}, evaluator ${allowed}`)
      }
    }
  }
  t.deepEqual(found, [])
  t.log(`${passed} of ${sent} packets passed`)
  t.true(passed > 20 && sent - passed > 20)
})
