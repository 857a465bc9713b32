// Calico's own IPAM tables, restated as data, and what its tests say in words. Where our design differs on purpose the row is in
// DIFFERS, with what holds here instead; it is played all the same.
import test from 'ava'
import { familyOf } from '../../lib/ip.ts'
import { blocksWithin, Cluster, corpusText } from './calico-play.ts'
import { aPool, convergeAll } from './world.ts'

test.after('calicoctl ipam check would find nothing in what the tests left', convergeAll)

type AutoAssign = {
  pools: [cidr: string, blockSize: number, use?: 'workload' | 'tunnel'][]
  from?: string
  v4?: number
  v6?: number
  got4?: number
  got6?: number
  error?: 'BlockLimit' | 'NoQualifiedPool'
  maxBlocksPerHost?: number
  strictAffinity?: boolean
  host?: string
  fresh?: boolean
}
type AssignIP = { pools: string[]; ip: string; ok?: boolean; fresh?: boolean; error?: string }
type ClaimAffinity = {
  pool: string
  pre?: string
  cidr: string
  host: string
  claimed: number
  failed: number
  fresh?: boolean
}
type Corpus = { autoAssign: AutoAssign[]; assignIP: AssignIP[]; claimAffinity: ClaimAffinity[] }

/** By table and number of the row: what comes of it here, and why. */
const DIFFERS: Readonly<Record<string, { here: object; because: string }>> = {
  'claimAffinity 1': {
    here: { claimed: 1, failed: 0 },
    because: 'no call takes a range: what is asked for by name brings the whole block of the pool that it lies in',
  },
}

const REFUSALS = { BlockLimit: 'block-limit', NoQualifiedPool: 'no-pool' } as const

const { path, text } = corpusText('calico-ipam-cases.json')
if (text === undefined)
  test('addresses are assigned as in the cases of Calico', t => {
    t.log(`skipped: no ${path}; set MARGAY_CORPORA to the folder that has it`)
    t.pass()
  })
else {
  const corpus: Corpus = JSON.parse(text)
  const kept = new Map<string, Cluster>()
  /** The cluster of the row before goes on where a row says so. */
  const clusterFor = async (table: string, fresh: boolean, make: () => Promise<Cluster>): Promise<Cluster> => {
    const cluster = fresh ? await make() : kept.get(table)!
    kept.set(table, cluster)
    return cluster
  }

  for (const [i, row] of corpus.autoAssign.entries()) {
    const { pools, from, v4 = 0, v6 = 0, got4 = 0, got6 = 0, error, host = 'n1', fresh = true } = row
    test.serial(`autoAssign ${i}: ${JSON.stringify(pools)} ${v4}+${v6}`, async t => {
      const made = pools.map(([cidr, blockSize, use], at) =>
        aPool(`p${at}`, cidr, blockSize, use && { allowedUses: [use === 'workload' ? 'Workload' : 'Tunnel'] }),
      )
      const { maxBlocksPerHost, strictAffinity } = row
      const cluster = await clusterFor('autoAssign', fresh, () =>
        Cluster.of(made, { maxBlocksPerHost, strictAffinity }),
      )
      const asked = from === undefined ? undefined : [from]
      const ipv4 = await cluster.assign(host, 'ipv4', v4, asked)
      const ipv6 = await cluster.assign(host, 'ipv6', v6)
      const theirs = {
        ipv4: { got: got4, ...(got4 < v4 && { refused: error === undefined ? 'exhausted' : REFUSALS[error] }) },
        ipv6: { got: got6, ...(got6 < v6 && { refused: error === undefined ? 'exhausted' : REFUSALS[error] }) },
      }
      t.deepEqual({ ipv4, ipv6 }, (DIFFERS[`autoAssign ${i}`]?.here as typeof theirs) ?? theirs)
    })
  }

  for (const [i, { pools, ip, ok = false, fresh = i === 0, error }] of corpus.assignIP.entries())
    test.serial(`assignIP ${i}: ${ip} of ${pools.join()}`, async t => {
      const made = pools.map((cidr, at) => aPool(`p${at}`, cidr, familyOf(cidr) === 'ipv4' ? 26 : 122))
      const cluster = await clusterFor('assignIP', fresh, () => Cluster.of(made))
      const refusal = error === 'ResourceAlreadyExists' ? 'address-taken' : 'address-outside'
      t.is(await cluster.assignAddress('n1', ip), ok ? undefined : refusal)
    })

  for (const [i, { pool, pre, cidr, host, claimed, failed, fresh = true }] of corpus.claimAffinity.entries())
    test.serial(`claimAffinity ${i}: ${cidr} of ${pool} for ${host}`, async t => {
      const cluster = await clusterFor('claimAffinity', fresh, () => Cluster.of([aPool('p', pool, 26)]))
      if (pre !== undefined) t.is(await cluster.assignAddress('host-a', pre.split(' ').at(-1)!), undefined)
      const expected = DIFFERS[`claimAffinity ${i}`]?.here ?? { claimed, failed }
      t.deepEqual(await cluster.claim(host, cidr, blocksWithin(cidr)), expected as { claimed: number; failed: number })
    })

  test('every row that differs is one of the corpus', t => {
    const rows = (['autoAssign', 'assignIP', 'claimAffinity'] as const).flatMap(table =>
      corpus[table].map((_, i) => `${table} ${i}`),
    )
    t.deepEqual(
      Object.keys(DIFFERS).filter(key => !rows.includes(key)),
      [],
    )
  })
}
