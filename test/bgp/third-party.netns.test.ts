// Three speakers on one LAN: ExaBGP announces to us, we pass on to BIRD or FRR, and the next hop stays ExaBGP's address
// (RFC 4271 §5.1.3), which the daemon accepts and uses.
import test from 'ava'
import { bird, exabgp, frr } from './daemons.ts'
import { farSource, SOURCE } from './far-source.ts'
import { type DaemonKind, Margay, makeLink, neighbors, OURS, runnable, until, type Wanted } from './interop.ts'
import { seen } from './seen.ts'

const PREFIX = { ipv4: '10.9.0.0/24', ipv6: '2001:db8:9::/64' } as const
const FAMILIES = ['ipv4', 'ipv6'] as const
const PATIENCE_MS = 60_000
const wanted: Wanted = { asn: 65002, peerAsn: 65001, holdSeconds: 90, ipv4: ['10.2.0.0/24'], ipv6: ['2001:db8:b::/64'] }

for (const kind of [bird, frr] as readonly DaemonKind[]) {
  const here = runnable(kind) && runnable(exabgp)
  const serial = here ? test.serial : test.serial.skip
  serial(
    `${kind.name} gets the announcing router of the LAN as the next hop, and us where nextHop is self`,
    async t => {
      t.timeout(4 * PATIENCE_MS)
      await using link = makeLink()
      const beside = kind.beside?.(link)
      if (beside !== undefined) link.run('theirs', { name: 'beside', ...beside })
      const sources = FAMILIES.map(family => ({
        ...{ name: family, address: SOURCE[family], asn: 65010, passive: true, import: 'accept', export: 'accept' },
      }))
      const margay = new Margay(link, { neighbors: [...neighbors(wanted), ...sources] })
      const daemon = link.run('theirs', { name: kind.name, ...kind.prepare(link, wanted) })
      const why = () => `${margay.program.output().slice(-3000)}\n${daemon.output().slice(-3000)}`
      await until('we answer', async () => (await margay.peers()).length === 4, why, PATIENCE_MS)
      farSource(link, { asn: 65010, peerAsn: 65001, routes: Object.values(PREFIX).map(prefix => ({ prefix })) })
      const nextHop = (family: 'ipv4' | 'ipv6') => seen[kind.name]!(link, PREFIX[family])[0]?.nextHop
      for (const family of FAMILIES)
        await until(`the source as next hop, ${family}`, () => nextHop(family) === SOURCE[family], why, PATIENCE_MS)
      await margay.reload({ neighbors: [...neighbors(wanted, { nextHop: 'self' }), ...sources] })
      for (const family of FAMILIES)
        await until(`ourselves as next hop, ${family}`, () => nextHop(family) === OURS[family], why, PATIENCE_MS)
      t.pass()
    },
  )
}
