// A real BIRD 2 as the top-of-rack router of a lab: it learns the blocks of the nodes, they learn those of its routes that
// lie inside a pool, over IPv4 and over IPv6, where the nodes have sessions with each other too. A second one shares the packets. What the administrator routes stays as it is, and neither a BIRD nor an API server that hangs holds up an agent's end.
import { execFileSync, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { netnsPath } from '../../kernel/netns.ts'
import { Lab } from '../../lab/lab.ts'
import type { NodePlan } from '../../lab/plan.ts'
import { isAlive, until } from '../../lab/program.ts'
import { systemProgram } from '../../lib/system-program.ts'
import { promised } from '../slowness.ts'
import { sweepTestLabs, testLabOptions } from './temporary.ts'

const BIRD = '/usr/sbin/bird'
/** IPv6 on LAN A: the router has ::1, the nodes what their IPv4 address ends with. */
const LAN6 = '2001:db8:10::'
const POOL6 = 'fd00:10:244::/48'
const SHARED = '10.244.240.0/24'
const FROM_BIRD6 = 'fd00:10:244:f000::/64'
const runnable = process.geteuid?.() === 0 && existsSync(BIRD)

test('BIRD learns the blocks of both nodes on its LAN, and their kernels get its route inside the pool alone, over IPv4 and over IPv6', async t => {
  if (!runnable) {
    t.log('skip: needs root, for network namespaces, and bird2')
    return t.pass()
  }
  t.timeout(90_000)
  await sweepTestLabs()
  const dir = mkdtempSync(join(tmpdir(), 'margay-bird-'))
  t.teardown(() => rmSync(dir, { recursive: true, force: true }))
  await using lab = new Lab(testLabOptions({ patience: 3 }))
  await lab.start()
  const router = lab.plan.lans[0]!.gateway
  const neighbours = lab.plan.nodes.filter(node => node.lan.gateway === router)

  await addIpv6(lab, lab.plan.router.netns, lab.plan.lans[0]!.bridge, `${LAN6}1`)
  for (const node of neighbours) await addIpv6(lab, node.netns, node.uplink, ipv6Of(node))

  const config = join(dir, 'bird.conf')
  // a second one listens beside it
  const session = (name: string, ends: string, family: string) => `protocol bgp ${name} {
  strict bind; ${ends} as 64512; multihop 2; connect delay time 1; error wait time 1,4;
  ${family} { import all; export where source = RTS_STATIC; next hop self; };
}`
  const sessions = neighbours.flatMap(node => [
    session(node.name, `local ${router} as 65010; neighbor ${node.address}`, 'ipv4'),
    session(`${node.name}v6`, `local ${LAN6}1 as 65010; neighbor ${ipv6Of(node)}`, 'ipv6'),
  ])
  writeFileSync(
    config,
    `log stderr all; router id ${router};
protocol device {}
protocol static { ipv4; route ${SHARED} blackhole; route 198.51.100.0/24 blackhole; route 0.0.0.0/0 blackhole; }
protocol static { ipv6; route ${FROM_BIRD6} blackhole; route ::/0 blackhole; }
${sessions.join('\n')}
`,
  )
  const control = join(dir, 'bird.ctl')
  const argv = [
    `--net=${netnsPath(lab.plan.router.netns)}`,
    '--',
    BIRD,
    '-f',
    '-c',
    config,
    '-s',
    control,
    '-P',
    join(dir, 'pid'),
  ]
  const bird = spawn(systemProgram('nsenter'), argv, { stdio: 'ignore' })
  t.teardown(() => bird.kill('SIGKILL'))

  const peer = (name: string, peerIP: string) => {
    const object = { metadata: { name }, spec: { peerIP, asNumber: 65010, nodeSelector: 'all()' } }
    return { kind: 'BGPPeer', object } as const
  }
  const pool = { metadata: { name: 'six' }, spec: { cidr: POOL6, blockSize: 122 } }
  await lab.putObjects([peer('tor', router), peer('tor6', `${LAN6}1`), { kind: 'IPPool', object: pool }])

  const ask = (what: string) => {
    try {
      return execFileSync(systemProgram('birdc'), ['-s', control, 'show', what], {
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'ignore'],
      })
    } catch {
      return '' // not listening yet
    }
  }
  const heard = () => ask('route')
  // the default route of the lab is one of them
  const administrators = new Map<string, unknown>()
  for (const { name, netns } of neighbours) {
    using kernel = lab.kernel(netns)
    const { index: ifindex } = (await kernel.link('eth0'))!
    const route = { type: 'unicast', protocol: 4, scope: 0, gateway: router, ifindex } as const
    await kernel.changeRoutes([
      { verb: 'add', route: { ...route, dst: '0.0.0.0/0', table: 254, metric: 100 } },
      { verb: 'add', route: { ...route, dst: '0.0.0.0/0', table: 100 } },
    ])
    administrators.set(name, await othersRoutes(lab, netns))
  }
  const has6 = async () => {
    const all = await Promise.all(neighbours.map(async ({ netns }) => ownBlocks(lab, netns)))
    return all.every(blocks => blocks.some(block => block.includes(':')))
  }
  t.true(await until(has6, 20_000, 100), 'each node has an IPv6 block')
  const blocks = await Promise.all(neighbours.map(async ({ netns }) => ownBlocks(lab, netns)))
  const announced = () => blocks.flat().every(block => heard().includes(block))
  const isAnnounced = await until(announced, 40_000, 200)
  const sessionsNow = isAnnounced ? '' : JSON.stringify(await lab.peers())
  t.true(isAnnounced, `BIRD has: ${heard()}${ask('protocols')}and the nodes ${sessionsNow}`)
  for (const { name, netns } of neighbours) {
    using kernel = lab.kernel(netns)
    const learned = async () => {
      const routes = await kernel.routes({ table: 254, protocol: 80 })
      return routes.some(({ dst, gateway }) => dst === SHARED && gateway === router)
    }
    t.true(await until(learned, 20_000, 100), `${name} has BIRD's route`)
    const ours = await kernel.routes({ table: 254, protocol: 80 })
    const others = ours.filter(({ dst }) => dst === '198.51.100.0/24' || dst === '0.0.0.0/0')
    t.deepEqual(others, [], `${name} takes no default route, and none outside the pools`)
    t.deepEqual(await othersRoutes(lab, netns), administrators.get(name), `${name} keeps its administrator's routes`)
  }

  // the same over IPv6: sessions of the mesh and with the BGPPeer, from the IPv6 addresses of the nodes
  for (const [i, node] of neighbours.entries()) {
    const other = neighbours[1 - i]!
    const wanted = blocks[1 - i]!.filter(block => block.includes(':')).map(block => `${block} via ${ipv6Of(other)}`)
    wanted.push(`${FROM_BIRD6} via ${LAN6}1`)
    using kernel = lab.kernel(node.netns)
    let routes: string[] = []
    const learned = async () => {
      const all = await kernel.routes({ table: 254, protocol: 80, family: 'ipv6' })
      routes = all.filter(({ gateway }) => gateway !== undefined).map(({ dst, gateway }) => `${dst} via ${gateway}`)
      return wanted.every(route => routes.includes(route))
    }
    t.true(await until(learned, 20_000, 100), `${node.name} has ${routes}, and needs ${wanted}`)
    t.is(routes.length, wanted.length, 'and no other one')
    const sessions = (await lab.peers()).filter(({ node: at, address }) => at === node.name && address.includes(':'))
    t.deepEqual(sessions.map(({ type, address, state }) => `${type} ${address} ${state}`).sort(), [
      `node specific ${LAN6}1 Established`,
      `node-to-node mesh ${ipv6Of(other)} Established`,
    ])
  }

  // a second router of the rack announces the same
  const second = router.replace(/\d+$/, '253')
  using routerKernel = lab.kernel(lab.plan.router.netns)
  const { index: lan } = (await routerKernel.link(lab.plan.lans[0]!.bridge))!
  await routerKernel.addAddress({ ifindex: lan, address: second, length: 24, scope: 0 })
  const secondConfig = join(dir, 'second.conf')
  const ends = (node: NodePlan) => `local ${second} as 65010; neighbor ${node.address}`
  writeFileSync(
    secondConfig,
    `log stderr all; router id ${second};
protocol device {}
protocol static { ipv4; route ${SHARED} blackhole; }
${neighbours.map(node => session(node.name, ends(node), 'ipv4')).join('\n')}
`,
  )
  const secondArgv = [...argv.slice(0, 5), secondConfig, '-s', join(dir, 'second.ctl'), '-P', join(dir, 'second.pid')]
  const secondBird = spawn(systemProgram('nsenter'), secondArgv, { stdio: 'ignore' })
  t.teardown(() => secondBird.kill('SIGKILL'))
  await lab.putObjects([peer('second', second)])
  for (const { name, netns } of neighbours) {
    using kernel = lab.kernel(netns)
    let found: string | undefined
    const waysAre = (ways: readonly string[]) => async () => {
      const [route] = await kernel.routes({ table: 254, protocol: 80, dst: SHARED })
      const hops = (route?.nextHops ?? (route === undefined ? [] : [route])).map(({ gateway }) => gateway).sort()
      found = `${hops.join()} by ${route?.nextHopId}`
      return hops.join() === ways.join() && route?.nextHopId !== undefined
    }
    t.true(await until(waysAre([router, second].sort()), 30_000, 100), `${name} has ${found}`)
    if (name !== neighbours.at(-1)!.name) continue
    secondBird.kill('SIGKILL')
    t.true(await until(waysAre([router]), 30_000, 100), `${name} has ${found}`)
  }

  const [{ name, netns }] = neighbours as [(typeof neighbours)[number]]
  await lab.killAgent(name)
  const isUp = () => new RegExp(`^${name} .*Established`, 'm').test(ask('protocols'))
  t.true(await until(() => !isUp(), 20_000, 50), 'the session of the killed agent ended')
  const agent = lab.startAgent(name)
  t.true(await until(isUp, 40_000, 100), `BIRD has: ${ask('protocols')}`)
  // nobody answers any more, and a block with a new pod waits to be published
  bird.kill('SIGSTOP')
  process.kill(lab.apiPid, 'SIGSTOP')
  const [pod] = lab.pods.filter(at => at.node.name === name)
  await lab.deletePod(pod!)
  // how long it was ready to run and other programs had the processor is not its doing
  const waitedBefore = waitedMs(agent.pid)
  let waited = waitedBefore
  const { tookMs, mostMs } = await promised(300, async () => {
    process.kill(agent.pid, 'SIGTERM')
    const ended = () => {
      waited = waitedMs(agent.pid) ?? waited
      return !isAlive(agent)
    }
    t.true(await until(ended, 5000, 2))
  })
  const ownMs = tookMs - (waited! - waitedBefore!)
  t.log(`the agent ended in ${tookMs} ms, ${ownMs.toFixed()} of them its own`)
  t.true(ownMs < mostMs, `the agent ended in ${tookMs} ms, ${ownMs} of them its own, and may take ${mostMs}`)
  process.kill(lab.apiPid, 'SIGCONT')
  bird.kill('SIGKILL')
  t.deepEqual(await othersRoutes(lab, netns), administrators.get(name), 'also when BGP is gone')
})

function ipv6Of({ address }: NodePlan): string {
  return LAN6 + address.split('.').at(-1)
}

async function addIpv6(lab: Lab, netns: string, link: string, address: string): Promise<void> {
  using kernel = lab.kernel(netns)
  // usable at once: nobody else is there to have it
  kernel.writeSysctl('ipv6', ['conf', link, 'accept_dad'], '0')
  const { index: ifindex } = (await kernel.link(link))!
  await kernel.addAddress({ ifindex, address, length: 64, scope: 0 })
}

/** The routes of everybody but the agent, in its table and in another one. */
async function othersRoutes(lab: Lab, netns: string): Promise<unknown[]> {
  using kernel = lab.kernel(netns)
  const all = [...(await kernel.routes({ table: 254 })), ...(await kernel.routes({ table: 100 }))]
  const links = new Set((await kernel.links()).filter(({ name }) => name === 'eth0').map(({ index }) => index))
  return all.filter(({ protocol, ifindex }) => protocol !== 80 && ifindex !== undefined && links.has(ifindex))
}

async function ownBlocks(lab: Lab, netns: string): Promise<string[]> {
  using kernel = lab.kernel(netns)
  const routes = await kernel.routes({ table: 254, protocol: 80 })
  return routes.filter(({ type }) => type === 'blackhole').map(({ dst }) => dst)
}

/** How long the first thread of a process waited for a processor (Documentation/scheduler/sched-stats.rst); undefined when it is gone. */
function waitedMs(pid: number): number | undefined {
  try {
    return Number(readFileSync(`/proc/${pid}/schedstat`, 'utf8').split(' ')[1]) / 1e6
  } catch {
    return undefined
  }
}
