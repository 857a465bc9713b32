// What must hold with every BFD daemon: the same tests for each row of `daemons.ts`. A test waits long for what is to come, and
// none says that a session is not lost: machines stand still for longer than a detection time (`model.test.ts` does).
import { existsSync } from 'node:fs'
import type { ExecutionContext, TestFn } from 'ava'
import type { BfdSessionConfig } from '../../../bgp/bfd/config.ts'
import type { BfdThread } from '../../../bgp/bfd/thread.ts'
import { isRoot } from '../../kernel/scratch-netns.ts'
import { makeLink, OURS, type Program, type TestLink, THEIRS, until } from '../interop.ts'
import { type BfdDaemon, familyOfPath, PATHS, type Path, type Wanted } from './daemons.ts'
import { cut, mend, passable, started } from './thread.ts'

const base: Wanted = { paths: PATHS, intervalMs: 300, multiplier: 3 }

type World = { link: TestLink; bfd: BfdThread; daemon: Program; why: () => string }

export function interopSuite(test: TestFn, kind: BfdDaemon): void {
  const here = isRoot && existsSync(kind.program)
  const when = here ? test.serial : test.serial.skip
  if (!here)
    test(`${kind.name} is not tested here`, t => {
      t.log(`skipped: needs root and ${kind.program}`)
      t.pass()
    })

  /** Whether the daemon can; else the reason is printed, and the test has nothing to show. */
  const can = (t: ExecutionContext, ability: keyof BfdDaemon['cannot']): boolean => {
    const reason = kind.cannot[ability]
    if (reason === undefined) return true
    t.log(`not tested: ${reason}`)
    t.pass()
    return false
  }

  const run = (link: TestLink, wanted: Wanted) => link.run('theirs', { name: kind.name, ...kind.prepare(link, wanted) })

  /** Both ends with a session for each path that the daemon is told. */
  const begin = async (
    t: ExecutionContext,
    theirs: Partial<Wanted> = {},
    ours: Partial<BfdSessionConfig> = {},
  ): Promise<World> => {
    const wanted = { ...base, ...theirs }
    const link = await passable(makeLink())
    const bfd = started(t, link.ours)
    for (const path of wanted.paths) bfd.setSession(path, configOf(path, ours))
    const beside = kind.beside?.(link)
    if (beside !== undefined) link.run('theirs', { name: `beside-${kind.name}`, ...beside })
    const daemon = run(link, wanted)
    return { link, bfd, daemon, why: () => daemon.output().slice(-3000) }
  }

  const configOf = (path: Path, more: Partial<BfdSessionConfig>): BfdSessionConfig => {
    const family = familyOfPath(path)
    const multihop = path === family ? undefined : { minTtl: kind.multihopTtl }
    return { local: OURS[family], peer: THEIRS[family], multihop, ...more }
  }

  const ourStates = async (bfd: BfdThread) =>
    Object.fromEntries((await bfd.status()).sessions.map(({ name, state }) => [name, state]))
  const theirStates = (link: TestLink) =>
    Object.fromEntries(kind.sessions(link).map(({ path, state }) => [path, state]))

  /** Waits until the sessions of these paths are Up at both ends. */
  const allUp = async ({ link, bfd, why }: World, paths: readonly Path[] = PATHS) => {
    let said = ''
    await until(
      `up: ${paths.join(', ')}`,
      async () => {
        const [ours, theirs] = [await ourStates(bfd), theirStates(link)]
        said = JSON.stringify({ ours, theirs })
        return paths.every(path => ours[path] === 'Up' && theirs[path] === 'up')
      },
      () => `${said}\n${why()}`,
      60_000,
    )
  }

  when(`${kind.name}: sessions of both families, over a link and multihop, are Up with the times of both`, async t => {
    const world = await begin(
      t,
      { intervalMs: 200, multiplier: 5 },
      { desiredMinTxMs: 100, requiredMinRxMs: 400, multiplier: 4 },
    )
    await using _ = world.link
    await allUp(world)
    // ours goes every 200 ms, theirs every 400
    await until(
      'the times are agreed on',
      async () => {
        const { sessions } = await world.bfd.status()
        return (
          sessions.every(each => each.transmitIntervalMs === 200 && each.detectionTimeMs === 2000) &&
          kind.sessions(world.link).every(each => each.transmitMs === 400 && each.detectionMs === 800)
        )
      },
      () => JSON.stringify(kind.sessions(world.link)),
    )
    const { sessions } = await world.bfd.status()
    t.is(sessions.length, 4)
    for (const { dropped } of sessions) t.deepEqual(dropped, {})
  })

  when(`${kind.name}: either end may be the passive one`, async t => {
    const waiting = await begin(t, {}, { passive: true })
    await using _ = waiting.link
    await allUp(waiting)
    const asking = await begin(t, { passive: true })
    await using __ = asking.link
    await allUp(asking)
    t.pass()
  })

  when(`${kind.name}: a daemon that is killed is lost, and found again when it is back`, async t => {
    // where both stand still it is we who give up first
    const world = await begin(t, {}, { multiplier: 10 })
    await using _ = world.link
    await allUp(world)
    await world.daemon.stop('SIGKILL')
    await until('all are lost', async () => Object.values(await ourStates(world.bfd)).every(state => state === 'Down'))
    for (const { losses, diagnostic } of (await world.bfd.status()).sessions) {
      t.true(losses >= 1)
      t.is(diagnostic, 'detection-time-expired')
    }
    world.daemon = run(world.link, base)
    await allUp(world)
  })

  when(`${kind.name}: when the link is cut both ends notice, and come up again with it`, async t => {
    const world = await begin(t)
    await using _ = world.link
    await allUp(world)
    cut(world.link.ours)
    await until(
      'all are lost at both ends',
      async () =>
        Object.values(await ourStates(world.bfd)).every(state => state !== 'Up') &&
        Object.values(theirStates(world.link)).every(state => state !== 'up'),
      world.why,
    )
    mend(world.link.ours, OURS.ipv6)
    await allUp(world)
    t.pass()
  })

  when(`${kind.name}: a session that we disable, or remove, is down there, and comes up again`, async t => {
    const world = await begin(t)
    await using _ = world.link
    await allUp(world)
    world.bfd.disable('ipv4')
    world.bfd.removeSession('ipv6 multihop')
    await until('two are down there', () => {
      const theirs = theirStates(world.link)
      return theirs['ipv4'] !== 'up' && theirs['ipv6 multihop'] !== 'up'
    })
    t.is((await ourStates(world.bfd))['ipv4'], 'AdminDown')
    world.bfd.enable('ipv4')
    world.bfd.setSession('ipv6 multihop', configOf('ipv6 multihop', {}))
    await allUp(world)
  })

  when(`${kind.name}: other intervals of ours are confirmed by it, down to 50 ms and up again`, async t => {
    const paths: readonly Path[] = ['ipv4', 'ipv6']
    const world = await begin(t, { paths, intervalMs: 50, multiplier: 20 }, { multiplier: 20 })
    await using _ = world.link
    await allUp(world, paths)
    for (const ms of [50, 700, 100]) {
      for (const path of paths)
        world.bfd.setSession(path, configOf(path, { desiredMinTxMs: ms, requiredMinRxMs: ms, multiplier: 20 }))
      await until(
        `both go by ${ms} ms`,
        async () =>
          (await world.bfd.status()).sessions.every(
            each => each.transmitIntervalMs === ms && each.detectionTimeMs === 20 * ms,
          ) && kind.sessions(world.link).every(each => each.transmitMs === ms && each.detectionMs === 20 * ms),
        () => JSON.stringify(kind.sessions(world.link)),
      )
    }
    t.pass()
  })

  when(`${kind.name}: intervals that change there are kept here`, async t => {
    if (!can(t, 'reload')) return
    const world = await begin(t)
    await using _ = world.link
    await allUp(world)
    kind.reload!(world.link, { ...base, intervalMs: 500, multiplier: 4 })
    await until('ours are of 500 ms', async () =>
      (await world.bfd.status()).sessions.every(
        each => each.transmitIntervalMs === 500 && each.detectionTimeMs === 2000,
      ),
    )
    t.pass()
  })

  for (const type of ['sha1', 'meticulous-sha1'] as const)
    when(`${kind.name}: ${type} works both ways, and a packet with another key is dropped`, async t => {
      if (!can(t, 'authentication')) return
      const keys = [{ id: 7, secret: 'sesame-of-twenty-oct' }]
      const authentication = { type, ...keys[0]! }
      const world = await begin(t, { authentication }, { authentication: { type, keys } })
      await using _ = world.link
      await allUp(world)
      for (const { dropped } of (await world.bfd.status()).sessions) t.is(dropped['wrong-hash'], undefined)
      const wrong = await begin(
        t,
        { authentication: { ...authentication, secret: 'another' } },
        { authentication: { type, keys } },
      )
      await using __ = wrong.link
      await until('packets of each are dropped', async () =>
        (await wrong.bfd.status()).sessions.every(({ dropped }) => (dropped['wrong-hash'] ?? 0) >= 1),
      )
      t.true((await wrong.bfd.status()).sessions.every(({ received, ups }) => received === 0 && ups === 0))
    })
}
