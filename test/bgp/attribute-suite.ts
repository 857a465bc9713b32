// Attributes end to end, for each row of `daemons.ts`: what a far source announces through us is what the daemon says it
// received, and what the daemon announces is what we say we received.
import type { TestFn } from 'ava'
import type { RouteText } from '../../api/answers.ts'
import { type Carried, EVERYTHING } from './carried.ts'
import { exabgp } from './daemons.ts'
import { farSource, SOURCE } from './far-source.ts'
import { type DaemonKind, Margay, makeLink, neighbors, OURS, runnable, THEIRS, until } from './interop.ts'
import { seen } from './seen.ts'

const FAR = { ipv4: '10.9.0.0/24', ipv6: '2001:db8:9::/64' } as const
const NEAR = { ipv4: ['10.2.0.0/24'], ipv6: ['2001:db8:b::/64'] } as const
const FAMILIES = ['ipv4', 'ipv6'] as const

/** An answer of our control socket in the words of `Carried`. */
export function carriedBy(a: RouteText): Carried {
  const carried: Carried = {
    origin: a.origin?.toUpperCase() as Carried['origin'],
    asPath: a.asPath?.split(' ').filter(Boolean).map(Number) ?? [],
    nextHop: a.nextHop?.split(' ')[0],
    med: a.med,
    localPref: a.localPref,
    atomicAggregate: a.atomicAggregate,
    aggregator: a.aggregator,
    communities: a.communities,
    extended: a.extendedCommunities && [...a.extendedCommunities].sort(),
    large: a.largeCommunities,
    originatorId: a.originatorId,
    clusterList: a.clusterList,
    otc: a.otc,
  }
  return without(carried)
}

/** `carried` without some attributes and without all that are undefined. */
function without(carried: Carried, ...names: readonly (keyof Carried)[]): Carried {
  return Object.fromEntries(
    Object.entries(carried).filter(([name, value]) => value !== undefined && !names.includes(name as keyof Carried)),
  )
}

/** With a second address on the link, the first one has to be asked for. */
export function fromOurs(both: readonly Record<string, unknown>[]): Record<string, unknown>[] {
  return both.map((neighbor, i) => ({ ...neighbor, source: OURS[FAMILIES[i]!] }))
}

export function attributeSuite(test: TestFn, kind: DaemonKind): void {
  const when = runnable(kind) && runnable(exabgp) ? test.serial : test.serial.skip
  const patience = kind.cannot.hurry === undefined ? 60_000 : 120_000

  for (const [relation, asn, sourceAsn] of [
    ['eBGP', 65002, 65010],
    ['iBGP', 65001, 65001],
  ] as const)
    when(`${kind.name} as ${relation}: every attribute arrives as it was announced, both ways`, async t => {
      t.timeout(2 * patience + 60_000)
      const ibgp = relation === 'iBGP'
      await using link = makeLink()
      const wanted = { asn, peerAsn: 65001, holdSeconds: 90, ...NEAR, carried: EVERYTHING }
      const beside = kind.beside?.(link)
      if (beside !== undefined) link.run('theirs', { name: 'beside', ...beside })
      const daemon = link.run('theirs', { name: kind.name, ...kind.prepare(link, wanted) })
      const sources = FAMILIES.map(family => ({
        ...{ name: `source-${family}`, address: SOURCE[family], asn: sourceAsn, passive: true },
        ...{ reflectorClient: ibgp, import: 'accept', export: 'accept' },
      }))
      const margay = new Margay(link, { neighbors: [...fromOurs(neighbors(wanted)), ...sources] })
      const asPath = ibgp ? EVERYTHING.asPath : [sourceAsn, ...EVERYTHING.asPath]
      const announced = { ...EVERYTHING, asPath, localPref: ibgp ? EVERYTHING.localPref : undefined }
      const routes = FAMILIES.map(family => ({ prefix: FAR[family], ...announced }))
      const source = farSource(link, { asn: sourceAsn, peerAsn: 65001, routes })
      const why = () => [margay.program, daemon, source].map(p => p.output().slice(-2000)).join('\n')

      // a daemon that assumes a LOCAL_PREF of its own on eBGP shows that one; there is none on the wire
      const own: (keyof Carried)[] = ibgp ? [] : ['localPref']
      for (const family of FAMILIES) {
        const paths = () => seen[kind.name]!(link, FAR[family])
        await until(`it has ${FAR[family]}`, () => paths().length === 1, why, patience)
        // RFC 4271 §5.1.2-5.1.5, RFC 4456 §8
        const expected: Carried = ibgp
          ? { ...announced, nextHop: SOURCE[family], originatorId: SOURCE.ipv4, clusterList: [OURS.ipv4] }
          : { ...announced, asPath: [65001, ...asPath], nextHop: SOURCE[family], med: undefined }
        t.deepEqual(without(paths()[0]!, ...own), without(expected, ...own), `what it received, ${family}`)
      }

      const unsaid = kind.unsaid ?? []
      for (const family of FAMILIES) {
        const prefix = NEAR[family][0]!
        const theirs = async () => {
          kind.begin?.(link, wanted)
          return (await margay.route(prefix)).candidates
        }
        await until(`we have ${prefix}`, async () => (await theirs()).length === 1, why, patience)
        const asPath = [...(ibgp ? [] : [asn]), ...(unsaid.includes('asPath') ? [] : EVERYTHING.asPath)]
        const expected: Carried = { ...EVERYTHING, asPath, nextHop: THEIRS[family] }
        const missing = unsaid.filter(name => name !== 'asPath')
        const [candidate] = await theirs()
        const received = without(carriedBy(candidate!.attributes), ...missing)
        t.deepEqual(received, without(expected, ...missing, ...own), `what we received, ${family}`)
      }
      if (unsaid.length > 0) t.log(`it cannot be told to announce: ${unsaid.join(', ')}`)
    })
}
