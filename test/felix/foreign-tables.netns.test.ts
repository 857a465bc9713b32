// Tables of other programs beside ours, with packets in a real kernel: pods reach each other, what a policy denies stays denied,
// and theirs is as it was, but for the two rules that let pods pass.
import { execFileSync } from 'node:child_process'
import test from 'ava'
import { ChainWatch } from '../../felix/chain-watch.ts'
import { PolicyEnforcer } from '../../felix/enforcer.ts'
import { LABEL, type PolicyRule } from '../../felix/policy/model.ts'
import { removeFromKernel } from '../../felix/removal.ts'
import { ManualClock } from '../../lib/clock.ts'
import { systemProgram } from '../../lib/system-program.ts'
import { nft } from '../kernel/nftables-programs.ts'
import { isRoot } from '../kernel/scratch-netns.ts'
import { SILENCE_MS } from '../slowness.ts'
import { DOCKER, firewalld } from './foreign-tables.ts'
import { PodNode } from './pod-node.ts'

const netns = isRoot ? test : test.skip
if (!isRoot)
  test('packets are sent by root only', t => {
    t.log('skipped: needs root')
    t.pass()
  })

/** What ufw leaves of the chain FORWARD where forwarding is denied, as it is by default. */
const UFW = `table ip filter {
  chain ufw-user-forward { }
  chain ufw-before-forward { ct state related,established accept; ip protocol icmp icmp type echo-request accept; jump ufw-user-forward; }
  chain ufw-after-forward { }
  chain ufw-reject-forward { }
  chain FORWARD {
    type filter hook forward priority filter; policy drop;
    jump ufw-before-forward
    jump ufw-after-forward
    jump ufw-reject-forward
  }
}`
/** Of kube-proxy, what meets packets that are forwarded: in the mode nftables, and in the mode iptables. */
const KUBE_PROXY = `table ip kube-proxy {
  chain filter-forward { type filter hook forward priority filter - 1; policy accept; ct state new jump firewall; }
  chain firewall { ip daddr 10.96.0.0/12 reject; }
}
table ip filter {
  chain KUBE-FORWARD {
    ct state invalid counter drop
    meta mark & 0x4000 == 0x4000 counter accept
    ct state related,established counter accept
  }
  chain FORWARD { type filter hook forward priority filter; policy accept; jump KUBE-FORWARD; }
}`
/** Somebody who accepts all, before and behind policy. */
const ACCEPTS = `table inet theirs {
  chain early { type filter hook forward priority -300; policy accept; accept; }
  chain late { type filter hook forward priority 300; policy accept; accept; }
}`

const OTHERS: readonly [title: string, ruleset: string, letsPass: boolean][] = [
  [
    'docker with the policy drop',
    DOCKER.replaceAll('priority filter; policy accept', 'priority filter; policy drop'),
    false,
  ],
  ['firewalld with zones that reject', firewalld('reject with icmpx admin-prohibited'), false],
  ['ufw', UFW, false],
  ['kube-proxy in both modes', KUBE_PROXY, true],
  ['somebody who accepts all', ACCEPTS, true],
]

const ALLOW: PolicyRule = { action: 'allow', source: {}, destination: {} }
const MARKS = { table: 254, protocol: 80, nftTable: 'margay', interfacePrefix: 'cali' }

netns('pods reach each other beside tables of others, as policies say, and those tables are as they were', async t => {
  await using node = new PodNode()
  await node.start()
  const [web, friend, stranger] = [await node.add('web'), await node.add('friend'), await node.add('stranger')]
  const enforcer = new PolicyEnforcer(node.kernel, { table: 'margay-policy', interfacePrefix: 'cali' })
  enforcer.set('tier', 'default', { name: 'default', order: 1_000_000, defaultAction: 'deny' })
  enforcer.set('profile', 'all', { ingress: [ALLOW], egress: [ALLOW] })
  for (const { name, address, interfaceName } of node.pods) {
    const labels = { app: name, [LABEL.orchestrator]: 'k8s', [LABEL.namespace]: 'default' }
    enforcer.set('endpoint', name, { kind: 'pod', labels, addresses: [address], ports: [] })
    enforcer.setLocal(name, { interfaceName, profiles: ['all'] })
  }
  enforcer.set('policy', 'friends', {
    ...{ ref: { kind: 'NetworkPolicy', namespace: 'default', name: 'friends' }, tier: 'default', order: 1000 },
    ...{ sortName: 'friends/default/NetworkPolicy', selector: "app == 'web'", hostStage: 'normal' },
    ingress: [{ ...ALLOW, source: { selector: "app == 'friend'" } }],
  })
  t.deepEqual((await enforcer.put()).refused, [])

  const told: unknown[] = []
  const clock = new ManualClock()
  const watch = new ChainWatch({
    ...{ kernel: node.kernel, clock, ownTable: 'margay' },
    traffic: () => ({ interfacePrefix: 'cali', devices: ['eth0'], pools: ['10.244.0.0/16'] }),
    onConditions: changes => void told.push(...changes.values()),
    onLetPass: () => undefined,
  })
  const foreign = () =>
    nft(node.space.path, ['list', 'ruleset'])
      .split(/^(?=table )/m)
      .filter(table => !table.startsWith('table inet margay'))
      .join('')
      .replaceAll(/counter packets \d+ bytes \d+/g, 'counter')
  const hasAccepts = (text: string) => text.split('\n').filter(line => line.includes('margay')).length

  for (const [title, ruleset, letsPass] of OTHERS) {
    nft(node.space.path, ['-f', '-'], ruleset)
    const before = foreign()
    if (!letsPass) t.false(await node.reaches(friend, web, SILENCE_MS), `${title} drops`)
    watch.changed()
    clock.advance(5000)
    while (!letsPass && hasAccepts(foreign()) < 2) await new Promise(setImmediate)
    const seen = [await node.reaches(friend, web), await node.reaches(stranger, web, SILENCE_MS)]
    t.deepEqual(seen, [true, false], title)
    const after = foreign()
    t.is(hasAccepts(after), letsPass ? 0 : 2, title)
    t.is(
      after
        .split('\n')
        .filter(line => !line.includes('margay'))
        .join('\n'),
      before,
      title,
    )
    for (const name of [
      'table inet firewalld',
      'table inet theirs',
      'table ip kube-proxy',
      'table ip filter',
      'table ip nat',
    ])
      if (after.includes(`${name} {`)) nft(node.space.path, ['delete', ...name.split(' ')])
  }
  t.deepEqual(told, [], 'nothing is left to say')

  // what iptables lists and saves of it is a rule of its own words
  const iptables = (...args: string[]) =>
    execFileSync(systemProgram('nsenter'), [`--net=${node.space.path}`, systemProgram('iptables-nft'), ...args], {
      encoding: 'utf8',
    })
  iptables('-P', 'FORWARD', 'DROP')
  watch.changed()
  clock.advance(5000)
  while (hasAccepts(foreign()) < 2) await new Promise(setImmediate)
  t.true(await node.reaches(friend, web))
  t.is(
    iptables('-S', 'FORWARD'),
    '-P FORWARD DROP\n-A FORWARD -i cali+ -m comment --comment "margay: packets of pods" -j ACCEPT\n-A FORWARD -o cali+ -m comment --comment "margay: packets of pods" -j ACCEPT\n',
  )
  watch.close()
  const removed = await removeFromKernel(node.kernel, { marks: MARKS, pools: [] })
  t.true(removed.includes('rules in chain ip filter FORWARD'))
  t.is(iptables('-S', 'FORWARD'), '-P FORWARD DROP\n')
})
