// A real BIRD 2 in the namespace that felix programs, writing into the same table, with the metric of felix's routes:
// neither removes the other's routes.
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { Felix } from '../../felix/loop.ts'
import { nodeMarks } from '../../felix/marks.ts'
import { netnsPath } from '../../kernel/netns.ts'
import { ManualClock } from '../../lib/clock.ts'
import { silentLog } from '../../lib/log.ts'
import { systemProgram } from '../../lib/system-program.ts'
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

function startBird(netns: string, folder: string): ChildProcess {
  const config = join(folder, 'bird.conf')
  writeFileSync(
    config,
    `router id 192.168.10.11;
protocol device {}
protocol kernel { scan time 1; metric 0; ipv4 { export all; import none; }; }
protocol static { ipv4; route 10.250.0.0/24 via 192.168.10.9; }
`,
  )
  const files = ['-c', config, '-s', join(folder, 'bird.ctl'), '-P', join(folder, 'pid')]
  return spawn(systemProgram('nsenter'), [`--net=${netnsPath(netns)}`, '--', BIRD, '-f', ...files], { stdio: 'ignore' })
}

/** Waits until BIRD has read the whole table once more: it then removes a route that carries its mark and is not its. */
async function birdScanned(otherProgram: Parameters<typeof routeTo>[0]): Promise<void> {
  const { index } = (await otherProgram.link('eth0'))!
  const probe = { dst: '10.251.0.0/24', table: 254, type: 'unicast', protocol: 12, scope: 0, ifindex: index } as const
  await otherProgram.changeRoutes([{ verb: 'add', route: { ...probe, gateway: '192.168.10.9' } }])
  await eventually('BIRD reads the table', async () => (await routeTo(otherProgram, probe.dst)) === undefined, 10_000)
}
