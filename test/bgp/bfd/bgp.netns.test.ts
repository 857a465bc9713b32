// BGP with BFD beside it, against BIRD and FRR: over IPv4 as a neighbour on the link, where they dial, over IPv6 as one behind
// routers, where we do.
import { readFileSync } from 'node:fs'
import test from 'ava'
import { bird, frr, frrDaemon } from '../daemons.ts'
import {
  type DaemonKind,
  Margay,
  makeLink,
  neighbors,
  runnable,
  type TestLink,
  until,
  type Wanted,
} from '../interop.ts'
import { type BfdDaemon, birdBfd, frrBfd } from './daemons.ts'
import { silence, speak } from './silence.ts'
import { passable } from './thread.ts'

type Row = {
  kind: DaemonKind
  session: (peer: string) => string[]
  /** Behind the sessions. */
  end?: string
  /** What it needs beside BGP. */
  beside?: (link: TestLink) => void
}

function bfdd(link: TestLink): void {
  const { command, args } = frrDaemon(link, 'bfdd', 'log stdout\nbfd\n!\n')
  link.run('theirs', { name: 'bfdd', command, args: [...args, '--bfdctl', `${link.folder}/frr/bfdd.sock`] })
}

const isMultihop = (peer: string) => peer.includes(':')

const rows: readonly Row[] = [
  {
    kind: bird,
    session: peer => ['bfd on;', isMultihop(peer) ? 'multihop 2; passive yes;' : 'direct;'],
    end: 'protocol bfd { interface "*" { interval 200 ms; multiplier 3; }; multihop { interval 200 ms; multiplier 3; }; }',
  },
  {
    kind: frr,
    session: peer => [
      ...(isMultihop(peer) ? [`neighbor ${peer} ebgp-multihop 2`, `neighbor ${peer} passive`] : []),
      `neighbor ${peer} bfd 3 200 200`,
    ],
    beside: bfdd,
  },
]

for (const { kind, session, end, beside } of rows)
  (runnable(kind) ? test.serial : test.serial.skip)(
    `${kind.name}: BFD is up beside both sessions, ends them when the far side falls silent, and comes up again with them`,
    async t => {
      await using link = await passable(makeLink())
      const wanted: Wanted = {
        ...{ asn: 65002, peerAsn: 65001, holdSeconds: 90, ipv4: ['10.2.0.0/24'], ipv6: ['2001:db8:b::/64'] },
        lines: { session: peer => session(peer).join('\n '), end },
      }
      if (kind.beside !== undefined) link.run('theirs', { name: 'beside', ...kind.beside(link) })
      const daemon = link.run('theirs', { name: kind.name, ...kind.prepare(link, wanted) })
      beside?.(link)
      const bfd = { interval: 200, multiplier: 3 }
      const [v4, v6] = neighbors(wanted)
      const margay = new Margay(link, {
        neighbors: [
          { ...v4, passive: true, bfd },
          { ...v6, multihop: 2, bfd: { ...bfd, multihop: true } },
        ],
      })
      const why = () => `${daemon.output().slice(-2000)}\n${margay.program.output().slice(-3000)}`
      const routes = async () =>
        (await Promise.all(['10.2.0.0/24', '2001:db8:b::/64'].map(prefix => margay.route(prefix)))).map(
          ({ candidates }) => candidates.length,
        )
      // a machine that stands still may lose one meanwhile: it comes again
      const allUp = () =>
        until(
          'both sessions and their BFD are up, with routes',
          async () =>
            (await margay.peers()).every(peer => peer.state === 'Established' && peer.bfd?.state === 'Up') &&
            `${await routes()}` === '1,1',
          why,
          60_000,
        )
      await allUp()
      t.deepEqual(
        (await margay.peers()).map(peer => peer.bfd?.hops),
        ['single', 'multi'],
      )
      silence(link.theirs)
      await until(
        'both are ended for it, and their routes are gone',
        async () =>
          (await margay.peers()).every(
            ({ lastReason, state }) => lastReason === 'bfd-down' && state !== 'Established',
          ) && `${await routes()}` === '0,0',
        why,
      )
      speak(link.theirs)
      await allUp()
      for (const { flaps, bfd: watched } of await margay.peers()) t.true(flaps >= 1 && watched!.losses >= 1)
    },
  )

const docs = readFileSync(new URL('../../../docs/bgp.md', import.meta.url), 'utf8')
/** What docs/bgp.md tells the users of a daemon to write so that our restart is no lost path. */
const recipe = (language: string, word: string) =>
  [...docs.matchAll(new RegExp(`\`\`\`${language}\n(.*?)\`\`\``, 'gs'))]
    .map(([, lines]) => lines!)
    .find(lines => lines.includes(word)) ?? ''

const patient: readonly (Row & { bfd: BfdDaemon })[] = [
  {
    ...{ kind: bird, bfd: birdBfd },
    session: () => [recipe('bird', 'bfd graceful')],
    end: 'protocol bfd { interface "*" { interval 200 ms; multiplier 3; }; }',
  },
  {
    ...{ kind: frr, bfd: frrBfd, beside: bfdd },
    session: peer => [recipe('frr', 'check-control-plane-failure').replaceAll('PEER', peer)],
  },
]

for (const { kind, bfd, session, end, beside } of patient)
  for (const signal of ['SIGTERM', 'SIGKILL'] as const)
    (runnable(kind) ? test.serial : test.serial.skip)(
      `${kind.name}, as docs/bgp.md has it, keeps our routes over a restart that begins with ${signal}`,
      async t => {
        await using link = await passable(makeLink())
        const wanted: Wanted = {
          ...{ asn: 65002, peerAsn: 65001, holdSeconds: 90, ipv4: [], ipv6: [] },
          lines: { session: peer => session(peer).join('\n '), end },
        }
        if (kind.beside !== undefined) link.run('theirs', { name: 'beside', ...kind.beside(link) })
        const daemon = link.run('theirs', { name: kind.name, ...kind.prepare(link, wanted) })
        beside?.(link)
        const margay = new Margay(link, {
          networks: ['10.1.0.0/24'],
          // a machine that stands still for a second loses no path
          neighbors: neighbors(wanted, { gracefulRestart: {}, bfd: { interval: 1000, multiplier: 3 } }),
        })
        const why = () => `${daemon.output().slice(-2000)}\n${kind.sessions(link)}`
        const states = () => bfd.sessions(link).map(({ state }) => state)
        const isWhole = () => states().every(state => state === 'up') && kind.learned(link).includes('10.1.0.0/24')
        await until('BFD is up, with our route', () => states().length === 2 && isWhole(), why)
        await margay.program.stop(signal)
        await until(
          'it has missed us, and has our route',
          () => {
            t.deepEqual(kind.learned(link), ['10.1.0.0/24'])
            return states().every(state => state !== 'up')
          },
          why,
        )
        t.deepEqual(kind.learned(link), ['10.1.0.0/24'])
        margay.start()
        await until(
          'all is up again, and until then our route was there',
          async () => {
            t.deepEqual(kind.learned(link), ['10.1.0.0/24'])
            return (await margay.peers()).every(({ state }) => state === 'Established') && isWhole()
          },
          why,
        )
      },
    )
