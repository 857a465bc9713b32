// A drain (RFC 8326) with other speakers: what they get from a speaker that drains, and what becomes of what they want less.
import test from 'ava'
import { bird, frr } from './daemons.ts'
import { type DaemonKind, Margay, makeLink, neighbors, runnable, until, type Wanted } from './interop.ts'
import { seen } from './seen.ts'

const networks = { ipv4: '10.1.0.0/24', ipv6: '2001:db8:a::/64' } as const
const base: Wanted = { asn: 65002, peerAsn: 65001, holdSeconds: 90, ipv4: ['10.2.0.0/24'], ipv6: ['2001:db8:b::/64'] }

const ROWS: readonly (readonly [DaemonKind, 'ebgp' | 'ibgp'])[] = [
  [bird, 'ebgp'],
  [bird, 'ibgp'],
  [frr, 'ebgp'],
]

for (const [kind, type] of ROWS) {
  const run = runnable(kind) ? test.serial : test.serial.skip
  run(
    `${kind.name}, ${type}: it is asked for other paths and told when that is over, without a reset; what it takes back is used least`,
    async t => {
      const wanted = { ...base, ...(type === 'ibgp' && { peerAsn: base.asn }), carried: { communities: ['65535:0'] } }
      await using link = makeLink()
      const config = { asn: wanted.peerAsn, networks: Object.values(networks), neighbors: neighbors(wanted) }
      const beside = kind.beside?.(link)
      if (beside !== undefined) link.run('theirs', { name: 'beside', ...beside })
      const daemon = link.run('theirs', { name: kind.name, ...kind.prepare(link, wanted) })
      const margay = new Margay(link, { ...config, drain: true })
      const why = () => `${margay.program.output().slice(-3000)}\n${daemon.output().slice(-2000)}`
      const told = (prefix: string) => seen[kind.name]!(link, prefix)[0]
      const drains = (prefix: string) => told(prefix)?.communities?.[0] === '65535:0'
      await until('it is told', () => Object.values(networks).every(drains), why)
      // inside the AS it is told, and FRR sets it for what other ASes will take away
      if (type === 'ibgp' || kind === frr)
        for (const prefix of Object.values(networks)) t.is(told(prefix)?.localPref, 0)

      const plan = await margay.reload(config)
      t.is(plan['drain'], 'ends')
      t.deepEqual(plan['resets'], [])
      const isOver = (prefix: string) => told(prefix) !== undefined && told(prefix)?.communities === undefined
      await until('it is told that this is over', () => Object.values(networks).every(isOver), why)

      // LOCAL_PREF of inside the AS is what the daemon gave its routes
      for (const prefix of [...wanted.ipv4, ...wanted.ipv6]) {
        await until(`we have ${prefix}`, async () => (await margay.route(prefix)).candidates.length === 1, why)
        const [route] = (await margay.route(prefix)).candidates
        t.deepEqual(route?.attributes?.localPref, type === 'ebgp' ? 0 : 100)
      }
      t.deepEqual(
        (await margay.peers()).map(({ flaps }) => flaps),
        [0, 0],
      )
    },
  )
}
