// Arbitrary clusters in a real kernel: objects of the API become the table of a node, packets are sent through it, and come
// through where the reference evaluator and the interpreter of rules say so.
import test from 'ava'
import fc from 'fast-check'
import type { PolicyDecision } from '../../api/explain.ts'
import type { PolicyEnforcer } from '../../felix/enforcer.ts'
import { parseRuleText } from '../../felix/policy/rule-text.ts'
import { openKernel } from '../../kernel/linux/kernel.ts'
import type { Kernel } from '../../kernel/port/kernel.ts'
import { ethernet, sendFrame } from '../felix/frames.ts'
import { nft } from '../kernel/nftables-programs.ts'
import { isRoot, scratchNetns } from '../kernel/scratch-netns.ts'
import { judgeHop } from './agreement.ts'
import { type Hop, hopsOf } from './hops.ts'
import { interpreter } from './interpreter.ts'
import { judgedOf } from './judged.ts'
import { enforce, POLICY, prepareNode, route, UPLINK } from './kernel-node.ts'
import { keyOf } from './model.ts'
import { isJudged } from './reference/endpoints.ts'
import { ofKind, type Pod, type World } from './reference/objects.ts'
import { judge, type Packet } from './reference.ts'
import { cases } from './worlds.ts'

const netns = isRoot ? test : test.skip
if (!isRoot)
  test('packets are sent by root only', t => {
    t.log('skipped: needs root')
    t.pass()
  })

const NODE = 'n1'
const PODS = 6
/** Counts what is left of the packets behind policy. Connections are not tracked: each packet is a new one. */
const PROBE = `table inet probe {
  chain early { type filter hook prerouting priority -300; counter notrack; }
  chain passed { type filter hook forward priority 100; counter; }
  chain arrived { type filter hook input priority 100; counter; }
}`

const isHere = (pod: Pod) => isJudged(pod) && pod.spec.nodeName === NODE && pod.status?.phase === 'Running'

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
  await prepareNode(node, other, { theirs, pods: PODS })
  nft(space.path, ['-f', '-'], PROBE)
  const macs = new Map((await node.links()).map(({ name, mac }) => [name, mac!]))
  const found: string[] = []
  let sent = 0
  let passed = 0
  let judged = 0
  let decided = 0
  // each world begins with the table of the one before
  const worlds = fc.sample(cases({ hosts: true, without: ['domains'] }), { seed: 7, numRuns: 40 })
  for (const [n, { world, packets }] of worlds.entries()) {
    const names = new Map(ofKind(world, 'Pod').map((pod, i) => [keyOf(pod), `cali${i}`]))
    const interfaceOf = (pod: Pod) => names.get(keyOf(pod))!
    for (let i = 1; i <= PODS; i++)
      for (const dst of [`10.0.0.${i}/32`, `fd00::${i}/128`]) await route(node, dst, UPLINK)
    const ownSets = [undefined, 0, 1][n % 3]
    const { refused, verdicts } = await enforce(node, world, { node: NODE, isHere, interfaceOf, ownSets })
    t.deepEqual(refused, [])
    const walk = interpreter([(await node.nftables(POLICY))!])
    for (const packet of packets) {
      const hops = hopsOf(world, packet, { interfaceOf })
      const hosts = hops.map(hop => judgeHop(world, packet, hop))
      const allowed = judge(world, packet).allowed && hosts.every(({ verdict }) => verdict === 'allow')
      judged += hosts.filter(({ reason }) => reason.by !== 'not judged').length
      for (const hop of hops) {
        const { iif, bytes } = hop.packet
        if (hop.node !== NODE || iif === undefined) continue
        const type = bytes[0]! >> 4 === 4 ? 0x800 : 0x86dd
        const before = await counted(node)
        const counts = await ruleCounts(node)
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
        const grown = [...(await ruleCounts(node))].filter(([text, count]) => count > (counts.get(text) ?? 0))
        const said = decisionsOn(verdicts, { world, packet, hop, interfaceOf })
        const wrong = disagreement(
          grown.map(([text]) => text),
          said,
          passes,
        )
        if (wrong !== undefined) found.push(`${JSON.stringify(packet)}: ${wrong}`)
        decided += said.length
      }
    }
  }
  t.deepEqual(found, [])
  t.log(`${passed} of ${sent} packets passed; host endpoints judged ${judged}`)
  t.true(passed > 20 && sent - passed > 20 && judged > 20 && decided > 100, `${decided}`)
})

/** How often each rule of policies came to something, by its text. */
async function ruleCounts(node: Kernel): Promise<Map<string, bigint>> {
  const counts = new Map<string, bigint>()
  for (const { comment, packets } of await node.ruleCounters(POLICY))
    if (comment !== undefined) counts.set(comment, (counts.get(comment) ?? 0n) + packets)
  return counts
}

/** Whom the explanation of a packet on its way through the node names, as far as the packet comes. */
function decisionsOn(
  verdicts: PolicyEnforcer['verdicts'],
  { world, packet, hop, interfaceOf }: { world: World; packet: Packet; hop: Hop; interfaceOf: (pod: Pod) => string },
): PolicyDecision[] {
  const { iif: from, oif: to } = hop.packet
  const { seen, pods } = judgedOf(world, packet)
  const at = { egress: from, ingress: to }
  const ofPods = pods.flatMap(([direction, key]) => {
    const pod = ofKind(world, 'Pod').find(each => keyOf(each) === key)!
    return interfaceOf(pod) === at[direction] ? [verdicts.decision(interfaceOf(pod), direction, seen).decision] : []
  })
  const ofHosts = verdicts.hostDecisions({ from, to }, { sent: seen, translated: seen }).map(each => each.decision)
  return [...ofPods, ...ofHosts]
}

/**
 * Rules that decided in the kernel are those that are named: all of them for what passes, one that denies for what does not. What the
 * node itself says meanwhile, that nobody is there or who has an address, its host endpoints judge as what leaves.
 */
function disagreement(grown: readonly string[], said: readonly PolicyDecision[], passes: boolean): string | undefined {
  const named = said.flatMap(({ action, by }) => (by.of === 'no policy' ? [] : [{ action, text: by.text }]))
  const isNamed = (text: string) => named.some(each => each.text === text)
  const unnamed = grown.filter(text => {
    const { direction, outcome = 'log' } = parseRuleText(text) ?? {}
    return (
      direction === 'ingress' && ['allow', 'deny'].includes(outcome) && !text.startsWith('staged ') && !isNamed(text)
    )
  })
  const counted = named.filter(({ text }) => grown.includes(text))
  const isRight = passes
    ? counted.length === named.length && counted.every(({ action }) => action === 'allow')
    : named.every(({ action }) => action === 'allow') || counted.some(({ action }) => action === 'deny')
  if (unnamed.length === 0 && isRight) return undefined
  return `passes ${passes}; rules that counted: ${grown.join(', ')}; named: ${named.map(({ text }) => text).join(', ')}`
}
