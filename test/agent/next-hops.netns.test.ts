// A whole node with two uplinks. A BIRD as top-of-rack router behind each: what becomes of their routes when one link loses its carrier,
// which ends no session until the hold timer does. And a BIRD behind both that peers by its loopback address.
import { spawn } from 'node:child_process'
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { ROUTE_SCOPE } from '../../kernel/port/routes.ts'
import { systemProgram } from '../../lib/system-program.ts'
import { bird } from '../bgp/daemons.ts'
import { runnable } from '../bgp/interop.ts'
import { aResource } from '../datastore/objects.ts'
import { ANSWER_MS } from '../slowness.ts'
import { ask, aWholeNode, until, type WholeNode } from './whole-node.ts'

const NODE = ['192.0.2.11', '198.51.100.11'] as const
const TOR = ['192.0.2.1', '198.51.100.1'] as const
/** Both announce it alike; the other one the second router announces with a shorter AS path. */
const SHARED = '10.244.200.0/26'
const PREFERRED = '10.244.201.0/26'

const aPeer = (name: string, peerIP: string) =>
  ({
    kind: 'BGPPeer',
    object: aResource('BGPPeer', { metadata: { name }, spec: { peerIP, asNumber: 65001, sourceAddress: 'None' } }),
  }) as const

const BIRD_CONFIG = `log stderr all; router id ${TOR[0]};
protocol device {}
protocol static { ipv4; route ${SHARED} blackhole; route ${PREFERRED} blackhole; }
template bgp tor { hold time 90; connect delay time 1; error wait time 1,2; ipv4 { import none; next hop self; }; }
protocol bgp tor1 from tor { local ${TOR[0]} as 65001; neighbor ${NODE[0]} as 64512; strict bind yes;
  ipv4 { export filter { if net = ${PREFERRED} then bgp_path.prepend(65001); accept; }; }; }
protocol bgp tor2 from tor { local ${TOR[1]} as 65001; neighbor ${NODE[1]} as 64512; strict bind yes; ipv4 { export all; }; }
`

/** Of a router behind both links, and what it announces: itself too, which must not become the way to it. */
const LOOPBACK = '10.255.0.1'
const BEHIND = '10.244.202.0/26'
const FAR = '10.244.202.1'
const LOOPBACK_CONFIG = `log stderr all; router id ${LOOPBACK};
protocol device {}
protocol static { ipv4; route ${BEHIND} blackhole; route ${LOOPBACK}/32 blackhole; }
protocol bgp node { local ${LOOPBACK} as 65001; neighbor ${NODE[0]} as 64512; multihop; strict bind yes; hold time 90;
  connect delay time 1; error wait time 1,2; ipv4 { import none; export all; next hop self; }; }
`
const EVERYTHING = {
  kind: 'BGPFilter',
  object: aResource('BGPFilter', { metadata: { name: 'everything' }, spec: { importV4: [{ action: 'Accept' }] } }),
} as const
const LOOPBACK_PEER = {
  kind: 'BGPPeer',
  object: aResource('BGPPeer', {
    metadata: { name: 'loopback' },
    spec: { peerIP: LOOPBACK, asNumber: 65001, filters: ['everything'] },
  }),
} as const

const asRoot = runnable(bird) ? test.serial : test.serial.skip

/** Two links between the node and the namespace of the routers, and BIRD there, with addresses on `lo`. Takes the carrier of a link, and gives it back. */
async function startRouters(
  t: ExecutionContext,
  node: WholeNode,
  { birdConfig, addresses = [] }: { birdConfig: string; addresses?: readonly string[] },
) {
  const path = node.pod(0)
  await node.kernel.createLink({ kind: 'veth', name: 'eth1', peer: { name: 'lan1' } })
  await node.kernel.setLink('eth1', { up: true })
  const { index: ifindex } = (await node.kernel.link('eth1'))!
  await node.kernel.addAddress({ ifindex, address: NODE[1], length: 24, scope: ROUTE_SCOPE.universe })
  const there = (...words: string[]) => node.run('nsenter', `--net=${path}`, '--', systemProgram('ip'), ...words)
  for (const [i, address] of TOR.entries()) {
    node.run('ip', 'link', 'set', `lan${i}`, 'netns', basename(path))
    there('link', 'set', `lan${i}`, 'up')
    there('addr', 'add', `${address}/24`, 'dev', `lan${i}`)
  }
  there('link', 'set', 'lo', 'up')
  for (const address of addresses) there('addr', 'add', `${address}/32`, 'dev', 'lo')
  const file = join(node.dir, 'bird.log')
  const config = join(node.dir, 'bird.conf')
  writeFileSync(config, birdConfig)
  const out = openSync(file, 'a')
  const argv = [`--net=${path}`, systemProgram(bird.program), '-f', '-c', config]
  const files = ['-s', join(node.dir, 'bird.ctl'), '-P', join(node.dir, 'bird.pid')]
  const child = spawn(systemProgram('nsenter'), [...argv, ...files], { stdio: ['ignore', out, out] })
  closeSync(out)
  t.teardown(() => child.kill('SIGKILL'))
  const carrier = (link: number, is: 'up' | 'down') => there('link', 'set', `lan${link}`, is)
  return { carrier, log: () => readFileSync(file, 'utf8') }
}

/** The gateways of felix' route to a prefix, sorted. */
async function gatewaysTo({ kernel }: WholeNode, prefix: string): Promise<string> {
  const route = (await kernel.routes({ table: 254, protocol: 80 })).find(({ dst }) => dst === prefix)
  const hops = route?.nextHops ?? (route === undefined ? [] : [route])
  return hops
    .map(({ gateway }) => gateway)
    .sort()
    .join()
}

asRoot(
  'of two top-of-rack routers the other one carries all routes while a link has no carrier, no session ends, and the next hop is named',
  async t => {
    t.timeout(240_000)
    const node = await aWholeNode(1, [aPeer('tor1', TOR[0]), aPeer('tor2', TOR[1])])
    t.teardown(() => node.close())
    const { carrier, log } = await startRouters(t, node, { birdConfig: BIRD_CONFIG })
    const agent = node.startAgent()
    const gateways = async () => [await gatewaysTo(node, SHARED), await gatewaysTo(node, PREFERRED)]
    const go = (what: string, ...by: string[]) =>
      until(t, `${what}: ${by}`, gateways, seen => seen.join(' ') === by.join(' '), 60_000)
    const told = async () => (await ask(agent.socket, 'GET', '/status')).body
    const sessions = () => log().match(/BGP session (closed|reset)|Received: |State changed to stop/g)?.length ?? 0

    await go('both share', TOR.toSorted().join(), TOR[1])
    const before = sessions()
    carrier(1, 'down')
    await go('the link is lost', TOR[0], TOR[0])
    await until(t, 'its next hop is told', told, seen => /NextHopsReachable/.test(seen) && seen.includes(TOR[1]))
    const route = (await ask(agent.socket, 'GET', `/bgp/route?prefix=${encodeURIComponent(PREFERRED)}`)).body
    t.regex(route, /"reachable":false,"why":"[^"]+"/)
    t.regex(route, /"step":"reachable"/)
    t.is(sessions(), before, 'no session ended')
    carrier(1, 'up')
    await go('it is back', TOR.toSorted().join(), TOR[1])
    t.is(sessions(), before, 'no session ended')
  },
)

asRoot(
  'a router that peers by its loopback address is reached over two links, and over the one that is left, whatever it says of itself',
  async t => {
    t.timeout(240_000)
    const node = await aWholeNode(1, [EVERYTHING, LOOPBACK_PEER])
    t.teardown(() => node.close())
    const router = { birdConfig: LOOPBACK_CONFIG, addresses: [LOOPBACK, FAR] }
    const { carrier, log } = await startRouters(t, node, router)
    const lead = (verb: 'add' | 'replace' | 'del', ...by: string[]) =>
      node.run('ip', 'route', verb, `${LOOPBACK}/32`, 'proto', 'static', ...by.flatMap(tor => ['nexthop', 'via', tor]))
    lead('add', ...TOR)
    const agent = node.startAgent()
    const go = (what: string, ...by: string[]) =>
      until(
        t,
        `${what}: ${by}`,
        () => gatewaysTo(node, BEHIND),
        seen => seen === by.toSorted().join(),
        60_000,
      )
    const told = async () => (await ask(agent.socket, 'GET', '/status')).body
    const answers = () => node.run('ping', '-c', '20', '-i', '0.05', '-W', String(ANSWER_MS / 1000), FAR)
    const sessions = () => log().match(/BGP session (closed|reset)|Received: |State changed to stop/g)?.length ?? 0

    await go('both links', ...TOR)
    t.regex(answers(), / 0% packet loss/)
    await until(t, 'its own address is told', told, seen => /NextHopLoop/.test(seen) && seen.includes(LOOPBACK))
    const before = sessions()
    carrier(1, 'down')
    await go('one link is lost', TOR[0])
    t.regex(answers(), / 0% packet loss/)
    carrier(1, 'up')
    await go('it is back', ...TOR)
    lead('replace', TOR[0])
    await go('the route leads over one', TOR[0])
    t.regex(answers(), / 0% packet loss/)
    lead('del')
    await go('no route leads there')
    await until(t, 'that is told', told, seen => /NextHopsReachable/.test(seen) && seen.includes(LOOPBACK))
    lead('add', ...TOR)
    await go('both again', ...TOR)
    t.regex(answers(), / 0% packet loss/)
    t.is(sessions(), before, 'no session ended')
  },
)
