// BGPFilters of a whole node whose routers outside are a BIRD and an FRR on its link: what passes either way, with which
// communities, what a change of a filter does, and that nothing passes once a filter is gone.
import { spawn } from 'node:child_process'
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { systemProgram } from '../../lib/system-program.ts'
import { bird, birdSocket, frr, frrDaemon, vtysh } from '../bgp/daemons.ts'
import { type Command, type Link, runnable, say } from '../bgp/interop.ts'
import { aResource } from '../datastore/objects.ts'
import { ask, aWholeNode, cniCall, until, type WholeNode } from './whole-node.ts'

const NODE = '192.0.2.11'
const BIRD = '192.0.2.1'
const FRR = '192.0.2.2'
const isIn = (cidr: string) => ({ matchOperator: 'In', cidr })

const aFilter = (name: string, spec: object) =>
  ({ kind: 'BGPFilter', object: aResource('BGPFilter', { metadata: { name }, spec }) }) as const
const aPeer = (name: string, peerIP: string, asNumber: number) =>
  ({
    kind: 'BGPPeer',
    object: aResource('BGPPeer', { metadata: { name }, spec: { peerIP, asNumber, filters: [name] } }),
  }) as const

const OF_BIRD = {
  importV4: [
    { action: 'Accept', ...isIn('203.0.113.0/24'), communities: { values: ['65010:1'] } },
    { action: 'Reject', ...isIn('10.244.200.0/24') },
    { action: 'Accept', ...isIn('192.0.2.0/24') },
  ],
  exportV4: [
    {
      ...{ action: 'Accept', ...isIn('10.244.0.0/16') },
      operations: [{ addCommunity: { value: '65001:100' } }, { prependASPath: { prefix: [64999] } }],
    },
  ],
}
const OF_FRR = {
  importV4: [{ action: 'Accept', asPathPrefix: [65020, 65021] }, { action: 'Reject' }],
  exportV4: [{ action: 'Reject' }],
}

/** What BIRD announces: what its filter and the default let in is `203.0.113.0/25` and `10.244.201.0/26`. */
const BIRD_CONFIG = `log stderr all; router id ${BIRD};
protocol device {}
protocol static { ipv4;
  route 203.0.113.0/25 blackhole { bgp_community.add((65010, 1)); }; route 203.0.113.128/25 blackhole;
  route 10.244.200.0/26 blackhole; route 10.244.201.0/26 blackhole; route 198.18.0.0/24 blackhole; route 192.0.2.64/26 blackhole; }
protocol bgp node { debug { events, routes };
  local ${BIRD} as 65010; neighbor ${NODE} as 64512; strict bind yes; hold time 90; connect delay time 1; error wait time 1,2;
  ipv4 { import all; export where source = RTS_STATIC; next hop self; }; }
`
/** Of which the AS path of 198.51.100.0/25 alone begins as its filter asks. */
const FRR_CONFIG = `log stdout
debug bgp updates in
router bgp 65020
 bgp router-id ${FRR}
 no bgp ebgp-requires-policy
 no bgp network import-check
 coalesce-time 10
 neighbor ${NODE} remote-as 64512
 neighbor ${NODE} update-source ${FRR}
 neighbor ${NODE} timers connect 1
 address-family ipv4 unicast
  network 198.51.100.0/25 route-map longer
  network 198.51.100.128/25
  network 10.244.210.0/26
 exit-address-family
route-map longer permit 10
 set as-path prepend 65021
`

/** BIRD's routes but for one, and no block for it; all of FRR's in the pool by default. */
const CHANGED = `apiVersion: projectcalico.org/v3
kind: BGPFilter
metadata: {name: bird}
spec:
  importV4: [{action: Reject, matchOperator: In, cidr: 203.0.113.0/24}]
  exportV4: [{action: Reject}]
---
apiVersion: projectcalico.org/v3
kind: BGPFilter
metadata: {name: frr}
spec:
  importV4: [{action: Accept, asPathPrefix: [65020, 65021]}]
  exportV4: [{action: Reject}]
`

const asRoot = runnable(bird) && runnable(frr) ? test : test.skip

/** The namespace behind the node's uplink with both daemons in it; what each has written so far. */
function startRouters(t: ExecutionContext, node: WholeNode) {
  const path = node.pod(0)
  const outside = { name: basename(path), path, [Symbol.dispose]: () => undefined }
  node.run('ip', 'link', 'set', 'lan0', 'netns', outside.name)
  const link: Link = { ours: outside, theirs: outside, folder: node.dir, [Symbol.asyncDispose]: async () => {} }
  for (const words of ['link set lan0 name e0', 'link set lo up', 'link set e0 up', `addr add ${BIRD}/24 dev e0`])
    say(link, 'ip', ...words.split(' '))
  say(link, 'ip', 'addr', 'add', `${FRR}/24`, 'dev', 'e0')
  const start = (name: string, { command, args }: Command) => {
    const file = join(node.dir, `${name}.log`)
    const out = openSync(file, 'a')
    const argv = [`--net=${path}`, systemProgram(command), ...args]
    const child = spawn(systemProgram('nsenter'), argv, { stdio: ['ignore', out, out] })
    closeSync(out)
    t.teardown(() => child.kill('SIGKILL'))
    return () => readFileSync(file, 'utf8')
  }
  writeFileSync(join(node.dir, 'bird.conf'), BIRD_CONFIG)
  const files = ['-c', join(node.dir, 'bird.conf'), '-s', birdSocket(link), '-P', join(node.dir, 'bird.pid')]
  const birdLog = start('bird', { command: bird.program, args: ['-f', ...files] })
  start('zebra', frr.beside!(link))
  const bgpd = frrDaemon(link, 'bgpd', FRR_CONFIG)
  const frrLog = start('bgpd', { ...bgpd, args: [...bgpd.args, '-l', FRR] })
  return { link, birdLog, frrLog }
}

asRoot(
  'filters decide what passes to and from a BIRD and an FRR, follow changes without an end of the session, and where one is deleted nothing passes',
  async t => {
    t.timeout(120_000)
    const objects = [
      aFilter('bird', OF_BIRD),
      aFilter('frr', OF_FRR),
      aPeer('bird', BIRD, 65010),
      aPeer('frr', FRR, 65020),
    ]
    const node = await aWholeNode(2, objects)
    t.teardown(() => node.close())
    const { link, birdLog, frrLog } = startRouters(t, node)
    const agent = node.startAgent()
    const ready = async () => (await ask(agent.socket, 'GET', '/readyz')).code
    await until(t, 'ready', ready, code => code === 200, 60_000)
    t.is((await cniCall(agent.socket, 'ADD', 'c1', node.pod(1))).code, 200)
    const learned = async () => {
      const routes = await node.kernel.routes({ table: 254, protocol: 80 })
      return routes.flatMap(({ dst, gateway }) => (gateway === undefined ? [] : [`${dst} by ${gateway}`])).sort()
    }
    const taken = (...routes: string[]) => until(t, `has ${routes}`, learned, seen => seen.join() === routes.join())
    await taken(`10.244.201.0/26 by ${BIRD}`, `198.51.100.0/25 by ${FRR}`, `203.0.113.0/25 by ${BIRD}`)
    const atBird = () => say(link, 'birdc', '-s', birdSocket(link), 'show', 'route', 'all', 'protocol', 'node')
    const route = await until(t, 'BIRD has the block', atBird, seen => /10\.244\.\d+\.\d+\/26/.test(seen))
    const block = /10\.244\.\d+\.\d+\/26/.exec(route)![0]
    t.regex(route, /BGP\.as_path: 64512 64999/)
    t.regex(route, /BGP\.community: .*\(65001,100\)/)
    t.false(vtysh(link, 'show bgp ipv4 unicast').includes(block), 'the filter of FRR tells it nothing')

    const changed = join(node.dir, 'changed.yaml')
    writeFileSync(changed, CHANGED)
    node.ctl('apply', '-f', changed)
    await taken(
      `10.244.200.0/26 by ${BIRD}`,
      `10.244.201.0/26 by ${BIRD}`,
      `10.244.210.0/26 by ${FRR}`,
      `198.51.100.0/25 by ${FRR}`,
    )
    await until(t, 'BIRD has lost the block', atBird, seen => !seen.includes(block))
    t.is(birdLog().match(/BGP session established/g)?.length, 1, 'no session ended')

    const before = birdLog().length
    node.ctl('delete', 'bgpfilter', 'bird', 'frr')
    await taken()
    const closed = () => birdLog().slice(before)
    await until(t, 'the session with BIRD ends', closed, seen =>
      /BGP session closed|Received: |State changed to start/.test(seen),
    )
    await until(
      t,
      'its BGPPeers say why',
      async () => (await ask(agent.socket, 'GET', '/status')).body,
      seen => /there is no BGPFilter/.test(seen),
    )
    t.false(closed().includes(block), closed())
    t.false(frrLog().includes(block), 'FRR never heard of it')
  },
)
