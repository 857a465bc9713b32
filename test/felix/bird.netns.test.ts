// A real BIRD 2 beside our programs: in the namespace that felix programs, writing into the same table with the metric of
// felix's routes, and as the peer of margay-bgp. Nobody's routes are removed or replaced by somebody else.

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { Felix } from '../../felix/loop.ts'
import { nodeMarks } from '../../felix/marks.ts'
import { netnsPath } from '../../kernel/netns.ts'
import { ROUTE_PROTOCOL, type Route } from '../../kernel/port/routes.ts'
import { ManualClock } from '../../lib/clock.ts'
import { silentLog } from '../../lib/log.ts'
import { systemProgram } from '../../lib/system-program.ts'
import { programUnderTest } from '../program-file.ts'
import { promised } from '../slowness.ts'
import { isRoot, openNetns, sweep } from './netns.ts'
import { addLink, eventually, routeTo, setUpNode, table } from './node-kernel.ts'
import { FULL, tell } from './worlds.ts'

const BIRD = '/usr/sbin/bird'

test('BIRD and felix in one namespace and table leave each other’s routes alone, also after a restart', async t => {
  if (!isRoot || !existsSync(BIRD)) {
    t.log('skipped: needs root and bird2')
    return t.pass()
  }
  sweep()
  const { name, kernel, otherProgram, close } = await openNetns()
  const folder = mkdtempSync(join(tmpdir(), 'margay-bird-'))
  let bird: ChildProcess | undefined
  const felixes: Felix[] = []
  try {
    await setUpNode(otherProgram)
    for (const { interfaceName } of FULL.endpoints) await addLink(otherProgram, interfaceName)
    bird = startBird(name, folder)
    await eventually(
      'BIRD has its route in the kernel',
      async () => (await routeTo(otherProgram, '10.250.0.0/24')) !== undefined,
    )

    const start = async () => {
      const marks = nodeMarks({ routeProtocol: 80, interfacePrefix: 'cali' })
      const felix = new Felix(kernel, { clock: new ManualClock(), log: silentLog, marks, onConditions: () => {} })
      felixes.push(felix)
      felix.start()
      tell(felix, { ...FULL, capabilities: { ipip: false, vxlan: true } })
      for (const source of ['datastore', 'endpoints', 'bgp'] as const) felix.complete(source)
      await felix.inSync()
      return felix
    }
    const first = await start()
    const both = await table(otherProgram)
    t.true(both.some(line => line.startsWith('unicast 10.250.0.0/24 via 192.168.10.9')))
    t.true(both.some(line => line.startsWith('unicast 10.244.2.0/26 via 192.168.10.12')))

    await birdScanned(otherProgram)
    t.deepEqual(await table(otherProgram), both)
    await first.close()
    await start()
    await birdScanned(otherProgram)
    t.deepEqual(await table(otherProgram), both)
  } finally {
    for (const felix of felixes) await felix.close()
    bird?.kill('SIGKILL')
    await close()
    rmSync(folder, { recursive: true, force: true })
  }
})

/** BIRD with one route in the kernel; or, with `announced`, as the peer of margay-bgp that announces these static routes. */
function startBird(netns: string, folder: string, announced?: string): ChildProcess {
  const config = join(folder, 'bird.conf')
  const inKernel = `protocol kernel { scan time 1; metric 0; ipv4 { export all; import none; }; }
protocol static { ipv4; route 10.250.0.0/24 via 192.168.10.9; }`
  const toPeer = `protocol static { ipv4; check link no; ${announced} }
protocol bgp { local 192.168.10.9 as 65010; neighbor 192.168.10.11 port 1790 as 65001; multihop 2; connect delay time 1;
  graceful restart on; graceful restart time 1; ipv4 { import none; export filter { bgp_next_hop = 192.168.10.12; accept; }; }; }`
  writeFileSync(
    config,
    `router id 192.168.10.9;
protocol device {}
${announced === undefined ? inKernel : toPeer}
`,
  )
  const files = ['-c', config, '-s', join(folder, 'bird.ctl'), '-P', join(folder, 'pid')]
  return spawn(systemProgram('nsenter'), [`--net=${netnsPath(netns)}`, '--', BIRD, '-f', ...files], { stdio: 'ignore' })
}

/** Waits until BIRD has read the whole table once more: it then removes a route that carries its mark and is not its. */
test('margay-bgp leaves the administrator’s routes as they are while BIRD announces them and after, and ends at once', async t => {
  if (!isRoot || !existsSync(BIRD)) {
    t.log('skipped: needs root and bird2')
    return t.pass()
  }
  sweep()
  const { name, otherProgram, close } = await openNetns()
  const folder = mkdtempSync(join(tmpdir(), 'margay-bird-'))
  const children: ChildProcess[] = []
  try {
    await setUpNode(otherProgram)
    const { index: ifindex } = (await otherProgram.link('eth0'))!
    await otherProgram.addAddress({ ifindex, address: '192.168.10.9', length: 24, scope: 0 })
    const via = (dst: string, more: Partial<Route> = {}): Route => ({
      ...{ dst, table: 254, type: 'unicast', protocol: ROUTE_PROTOCOL.static, scope: 0 },
      ...{ gateway: '192.168.10.253', ifindex, ...more },
    })
    const administrators = [
      via('0.0.0.0/0'),
      via('0.0.0.0/0', { metric: 100, gateway: '192.168.10.252' }),
      via('198.51.100.0/24', { protocol: ROUTE_PROTOCOL.boot }),
      via('203.0.113.0/24', { metric: 50 }),
      via('0.0.0.0/0', { table: 100 }),
      via('10.250.0.0/24', { table: 100 }),
    ]
    const refusals = await otherProgram.changeRoutes(administrators.map(route => ({ verb: 'add', route })))
    t.deepEqual(new Set(refusals), new Set([undefined]))
    const theirs = async () => {
      const all = [...(await otherProgram.routes({ table: 254 })), ...(await otherProgram.routes({ table: 100 }))]
      // the kernel makes those of fe80::/64 itself, whenever a link is ready for it
      return all.filter(({ protocol, dst }) => protocol !== ROUTE_PROTOCOL.margayBgp && dst !== 'fe80::/64')
    }
    const before = await theirs()

    const speaker = startSpeaker(name, folder)
    children.push(speaker)
    const ours = async () => (await routeTo(otherProgram, '10.250.0.0/24'))?.protocol === ROUTE_PROTOCOL.margayBgp
    const announcing = async () => {
      const bird = startBird(name, folder, BIRD_ANNOUNCES)
      children.push(bird)
      await eventually('a route of BIRD is in the kernel', ours, 60_000)
      return bird
    }
    // of an earlier run: it goes when margay-bgp has heard everything, and from then on routes are removed at once
    await otherProgram.changeRoutes([
      { verb: 'add', route: via('10.251.0.0/24', { protocol: ROUTE_PROTOCOL.margayBgp }) },
    ])
    const first = await announcing()
    t.deepEqual(await theirs(), before, 'while BIRD announces them')
    const leftOver = async () => (await routeTo(otherProgram, '10.251.0.0/24')) !== undefined
    await eventually('the route of the earlier run is gone', async () => !(await leftOver()), 40_000)
    first.kill('SIGKILL')
    await eventually('the route of BIRD is gone with it', async () => !(await ours()), 60_000)
    t.deepEqual(await theirs(), before, 'after BIRD announced them')

    // a peer that neither reads nor closes does not hold up the end
    const bird = await announcing()
    bird.kill('SIGSTOP')
    const ended = once(speaker, 'exit')
    const { tookMs, mostMs } = await promised(300, () => {
      speaker.kill('SIGTERM')
      return ended
    })
    t.true(tookMs < mostMs, `margay-bgp ended in ${tookMs} ms, and may take ${mostMs}`)
    t.true(await ours(), 'its routes outlive it')
  } finally {
    for (const child of children) child.kill('SIGKILL')
    await close()
    rmSync(folder, { recursive: true, force: true })
  }
})

/** What BIRD announces to margay-bgp: all that the administrator has a route for, and one route more. */
const BIRD_ANNOUNCES = ['0.0.0.0/0', '192.168.10.0/24', '198.51.100.0/24', '203.0.113.0/24', '10.250.0.0/24']
  .map(prefix => `route ${prefix} via 192.168.10.9;`)
  .join(' ')

function startSpeaker(netns: string, folder: string): ChildProcess {
  const config = join(folder, 'margay.yaml')
  writeFileSync(
    config,
    `asn: 65001
routerId: 192.168.10.11
listen: [192.168.10.11:1790]
kernel: {table: 254}
neighbors:
  - {address: 192.168.10.9, asn: 65010, passive: true, import: accept, export: accept, gracefulRestart: {restartTime: 1}}
`,
  )
  const program = programUnderTest('agent/margay-bgp')
  const argv = [`--net=${netnsPath(netns)}`, '--', process.execPath, program, '--config', config]
  return spawn(systemProgram('nsenter'), argv, { stdio: 'ignore' })
}

async function birdScanned(otherProgram: Parameters<typeof routeTo>[0]): Promise<void> {
  const { index } = (await otherProgram.link('eth0'))!
  const probe = { dst: '10.251.0.0/24', table: 254, type: 'unicast', protocol: 12, scope: 0, ifindex: index } as const
  await otherProgram.changeRoutes([{ verb: 'add', route: { ...probe, gateway: '192.168.10.9' } }])
  await eventually('BIRD reads the table', async () => (await routeTo(otherProgram, probe.dst)) === undefined, 10_000)
}
