// What must hold with every BGP daemon: the same tests for each row of `daemons.ts`.
import { execFileSync } from 'node:child_process'
import type { ExecutionContext, TestFn } from 'ava'
import { systemProgram } from '../../lib/system-program.ts'
import {
  type DaemonKind,
  Margay,
  type MargayConfig,
  makeLink,
  neighbors,
  type Program,
  runnable,
  type TestLink,
  THEIRS,
  until,
  type Wanted,
} from './interop.ts'

const base: Wanted = { asn: 65002, peerAsn: 65001, holdSeconds: 9, ipv4: ['10.2.0.0/24'], ipv6: ['2001:db8:b::/64'] }
const networks = ['10.1.0.0/24', '2001:db8:a::/64']

type World = {
  link: TestLink
  margay: Margay
  daemon: Program
  wanted: Wanted
  config: MargayConfig
  why: () => string
}

/** `prefix via gateway` of every route of ours in the main table. */
function kernelRoutes({ ours }: TestLink): string[] {
  return ['-4', '-6'].flatMap(family => {
    const args = ['-n', ours.name, family, '-json', 'route', 'show', 'proto', '179']
    const routes: { dst: string; gateway: string }[] = JSON.parse(
      execFileSync(systemProgram('ip'), args, { encoding: 'utf8' }) || '[]',
    )
    return routes.map(({ dst, gateway }) => `${dst} via ${gateway}`)
  })
}

export function interopSuite(test: TestFn, kind: DaemonKind): void {
  const when = runnable(kind) ? test.serial : test.serial.skip
  if (!runnable(kind))
    test(`${kind.name} is not tested here`, t => {
      t.log(`skipped: needs root and ${kind.program}`)
      t.pass()
    })

  const launch = (link: TestLink, wanted: Wanted): Program => {
    const program = link.run('theirs', { name: kind.name, ...kind.prepare(link, wanted) })
    if (kind.begin !== undefined)
      void until('the daemon takes commands', () => {
        kind.begin?.(link, wanted)
        return true
      }).catch(() => undefined)
    return program
  }

  /** Whether the daemon can; else the reason is printed, and the test has nothing to show. */
  const can = (t: ExecutionContext, ability: keyof DaemonKind['cannot']): boolean => {
    const reason = kind.cannot[ability]
    if (reason === undefined) return true
    t.log(`not tested: ${reason}`)
    t.pass()
    return false
  }

  /** Both programs, started; `ours` goes into our neighbours, `theirs` into their configuration. */
  const start = (theirs: Partial<Wanted> = {}, ours: Record<string, unknown> = {}, top: MargayConfig = {}): World => {
    const wanted = { ...base, ...theirs }
    const link = makeLink()
    const config = { networks, neighbors: neighbors(wanted, ours), asn: wanted.peerAsn, ...top }
    const beside = kind.beside?.(link)
    if (beside !== undefined) link.run('theirs', { name: `beside-${kind.name}`, ...beside })
    const daemon = launch(link, wanted)
    const margay = new Margay(link, config)
    const why = () => `${margay.program.output().slice(-3000)}\n${daemon.output().slice(-2000)}`
    return { link, margay, daemon, wanted, config, why }
  }
  const again = ({ link, wanted }: World): Program => launch(link, wanted)
  const up = async ({ margay }: World) => {
    const peers = await margay.peers()
    return peers.length === 2 && peers.every(({ state }) => state === 'Established')
  }
  const haveTheirs = async ({ margay, wanted }: World) => {
    for (const prefix of [...wanted.ipv4, ...wanted.ipv6])
      if (!(await margay.route(prefix)).candidates.some(c => c.best)) return false
    return true
  }
  const haveOurs = ({ link }: World) => {
    const learned = kind.learned(link)
    return networks.every(prefix => learned.includes(prefix))
  }
  const exchanged = async (world: World) => {
    await until('both sessions are up', () => up(world), world.why, kind.cannot.hurry === undefined ? 30_000 : 90_000)
    await until('we have their routes', () => haveTheirs(world), world.why)
    await until('they have our routes', () => haveOurs(world), world.why)
  }

  for (const [relation, asn] of [
    ['eBGP', 65002],
    ['iBGP', 65001],
  ] as const)
    when(`${kind.name} as ${relation}: sessions for both families, routes both ways, and a withdrawal`, async t => {
      const world = start({ asn })
      await using _ = world.link
      await exchanged(world)
      const answer = await world.margay.reload({ ...world.config, networks: networks.slice(1) })
      t.deepEqual(answer['resets'], [])
      await until('the withdrawn route is gone', () => !kind.learned(world.link).includes(networks[0]!), world.why)
      t.true(kind.learned(world.link).includes(networks[1]!))
      t.true((await world.margay.peers()).every(({ flaps }) => flaps === 0))
    })

  when(
    `${kind.name}: sessions signed with MD5 come up whoever dials, and a wrong key is suspected by name`,
    async t => {
      if (!can(t, 'md5')) return
      for (const passive of [true, false]) {
        if (passive && kind.cannot.listen !== undefined) continue
        const world = start({ password: 'correct', passive }, { passive: !passive, ttlSecurity: undefined })
        await using _ = world.link
        await exchanged(world)
      }
      if (!can(t, 'listen')) return
      const world = start({ password: 'correct', passive: true }, { password: 'wrong', connectRetry: 2 })
      await using _ = world.link
      await until(
        'the wrong key is suspected',
        async () => (await world.margay.peers()).every(({ reason }) => reason?.code === 'signature-suspected'),
        world.why,
      )
      t.pass()
    },
  )

  when(`${kind.name}: sessions that both sides dial end as one connection each`, async t => {
    if (!can(t, 'listen')) return
    const world = start()
    await using _ = world.link
    const rounds = kind.cannot.hurry === undefined ? 5 : 0
    for (let round = 0; round < rounds; round++) {
      await exchanged(world)
      await world.margay.clear('v4', 'hard')
      await world.margay.clear('v6', 'hard')
      await until(
        'the sessions went down',
        async () => (await world.margay.peers()).every(({ flaps }) => flaps > round),
        world.why,
      )
    }
    await exchanged(world)
    t.pass()
  })

  when(`${kind.name}: a daemon that stops answering is given up after the hold time, and comes back`, async t => {
    const world = start({ holdSeconds: 3 })
    await using _ = world.link
    await exchanged(world)
    world.daemon.signal('SIGSTOP')
    await until(
      'the hold timer expires',
      async () => (await world.margay.peers()).every(({ reason }) => reason?.code === 'hold-timer'),
      world.why,
    )
    t.is((await world.margay.route(world.wanted.ipv4[0]!)).candidates.length, 0)
    world.daemon.signal('SIGCONT')
    await exchanged(world)
  })

  when(`${kind.name}: when it restarts gracefully we keep its routes, and when we do it keeps ours`, async t => {
    if (!can(t, 'restart')) return
    const world = start({ restartSeconds: 30 }, { gracefulRestart: { restartTime: 30 } })
    await using _ = world.link
    await exchanged(world)
    await world.daemon.stop('SIGKILL')
    await until('the sessions are down', async () => !(await up(world)), world.why)
    t.true(await haveTheirs(world), 'we keep the routes of a daemon that died')
    world.daemon = again(world)
    await exchanged(world)

    await world.margay.program.stop('SIGTERM')
    t.true(haveOurs(world), 'it keeps our routes after we were stopped')
    world.margay.start()
    await exchanged(world)
    await world.margay.program.stop('SIGKILL')
    t.true(haveOurs(world), 'it keeps our routes after we were killed')
    world.margay.start()
    await exchanged(world)
  })

  when(
    `${kind.name}: what it announces is in the kernel, survives our death, and goes when it is withdrawn`,
    async t => {
      const world = start({}, {}, { kernel: { table: 254 } })
      await using _ = world.link
      const inKernel = () => {
        const routes = kernelRoutes(world.link)
        return world.wanted.ipv4.every(prefix => routes.includes(`${prefix} via ${THEIRS.ipv4}`))
      }
      await exchanged(world)
      await until('the routes are in the kernel', inKernel, world.why)
      t.is(kernelRoutes(world.link).length, 2)
      await world.margay.program.stop('SIGKILL')
      t.true(inKernel())
      world.margay.start()
      await exchanged(world)
      await world.daemon.stop('SIGKILL')
      // a daemon without End-of-RIB markers: our new process judges the routes of the old one 30 s after its start
      await until('the kernel has no route of it', () => kernelRoutes(world.link).length === 0, world.why, 60_000)
    },
  )

  when(`${kind.name}: route refresh works, and does not cost a session`, async t => {
    if (!can(t, 'refresh')) return
    const world = start()
    await using _ = world.link
    await exchanged(world)
    const before = (await world.margay.peers()).map(({ messages }) => messages)
    kind.refresh?.(world.link)
    await world.margay.clear('v4', 'soft-in')
    await world.margay.clear('v6', 'soft-in')
    await until(
      'the routes came again',
      async () =>
        (await world.margay.peers()).every(
          ({ messages }, i) =>
            messages.updatesIn > before[i]!.updatesIn &&
            (kind.refresh === undefined || messages.updatesOut > before[i]!.updatesOut),
        ),
      world.why,
    )
    await exchanged(world)
    t.true((await world.margay.peers()).every(({ flaps }) => flaps === 0))
  })
}
