// More of Calico's IPAM tables, row by row as the corpus has them. Where our design differs on purpose the row is in DIFFERS, with
// what holds here instead; it is played all the same.
import test from 'ava'
import { matchesSelector } from '../../api/selector.ts'
import { usage } from '../../ctl/ipam-usage.ts'
import { poolsFor, type Selects } from '../../ipam/pick.ts'
import { type Family, familyOf } from '../../lib/ip.ts'
import { blocksWithin, Cluster, corpusText, type Got } from './calico-play.ts'
import { aPod, aPool, convergeAll } from './world.ts'

test.after('calicoctl ipam check would find nothing in what the tests left', convergeAll)

type Counts = { available: number; capacity: number; inUse: number; reserved: number }
type Requested = { requested: number; got: number; msgs: string[] } | null
type Labels = Record<string, string>

type Rows = {
  utilisation: {
    pool: string
    block: string
    allocated: string[]
    reserved: string[]
    expectPool: Counts
    expectBlock: Counts
  }
  autoAssign: {
    host: string
    pools: { cidr: string; blockSize: number; enabled: boolean; allowedUses?: ('Workload' | 'Tunnel')[] }[]
    from: string
    num4: number
    num6: number
    v4: Requested
    v6: Requested
    maxBlocksPerHost: number
    strictAffinity: boolean
    error: string | null
  }
  assignIP: { ip: string; host: string; fresh: boolean; pools: string[]; error: string | null }
  releaseOptions: { allocate: string[]; release: { address: string; handle?: string; error: boolean }[] }
  releaseIPs: { ip: string | object; pools: string[]; autoAssign: number; notAllocated: string[] }
  claimAffinity: {
    cidr: string
    host: string
    pools: string[]
    assignedToHostA: string | null
    claimed: number
    failed: number
  }
  determinePools: {
    family: 4 | 6
    nodeLabels: Labels
    pool1Enabled: boolean
    pool2Enabled: boolean
    pool1Selector: string
    pool2Selector: string
    requestPool1: boolean
    requestPool2: boolean
    expect: string[]
    error: boolean
  }
  namespaceSelector: {
    pool: string
    nodeSelector: string
    namespaceSelector: string
    nodeLabels: Labels
    namespace: string
    namespaceLabels: Labels
    match: boolean
  }
}
type Op = keyof Rows
type Row = { [K in Op]: Rows[K] & { op: K; name: string } }[Op]

/** By the name of the row: what holds here, and why. The tests below play it so. */
const DIFFERS: Readonly<Record<string, string>> = {
  'Invalid handle': 'a release names a handle alone: a wrong one releases nothing, and that is no error',
  "Release an IP that's not allocated in the pool": 'a release names a handle: one that holds nothing has no addresses',
}

const { path, text } = corpusText('calico-ipam-even.ndjson')
const poolsOf = (cidrs: readonly string[]) =>
  cidrs.map((cidr, i) => aPool(`p${i}`, cidr, familyOf(cidr) === 'ipv4' ? 26 : 122))

/** A row of `assignIP` with `fresh: false` goes on with the cluster of the one before. */
let last: Cluster | undefined

const play: {
  [K in Op]: (row: Rows[K] & { name: string }, same: (actual: unknown, expected: unknown) => void) => Promise<void>
} = {
  async utilisation({ pool, block, allocated, reserved, expectPool, expectBlock }, same) {
    const ipPool = aPool('p', pool, Number(block.split('/')[1]))
    const cluster = await Cluster.of([ipPool])
    for (const address of allocated) same(await cluster.assignAddress('n1', address), undefined)
    await cluster.store.create('IPReservation', { metadata: { name: 'r' }, spec: { reservedCIDRs: reserved } })
    await cluster.settle()
    const [found] = usage([ipPool], await cluster.store.list('IPAMBlock'), reserved).pools
    const counts = ({ total, used, reserved, free }: NonNullable<typeof found>['blocks'][0]) => ({
      ...{ available: free, capacity: total, inUse: used },
      reserved,
    })
    same(counts(found!), expectPool)
    same(counts(found!.blocks.find(({ cidr }) => cidr === block)!), expectBlock)
  },

  async autoAssign({ host, pools, from, num4, num6, v4, v6, maxBlocksPerHost, strictAffinity, error }, same) {
    const made = pools.map(({ cidr, blockSize, enabled, allowedUses }, i) =>
      aPool(`p${i}`, cidr, blockSize, { disabled: !enabled, ...(allowedUses && { allowedUses }) }),
    )
    const cluster = await Cluster.of(made, { maxBlocksPerHost, strictAffinity })
    const [cidr, use] = from.split('+') as [string, string | undefined]
    const asked = cidr === 'any' ? undefined : [cidr]
    const as = use === 'tunnel' ? 'Tunnel' : 'Workload'
    const expected = (count: number, result: Requested): Got => {
      const got = result?.got ?? 0
      if (got === count) return { got }
      if (error?.includes('qualified ippool')) return { got, refused: 'no-pool' }
      return { got, refused: error?.includes('block limit') ? 'block-limit' : 'exhausted' }
    }
    same(await cluster.assign(host, 'ipv4', num4, asked, as), expected(num4, v4))
    same(await cluster.assign(host, 'ipv6', num6, undefined, as), expected(num6, v6))
  },

  async assignIP({ ip, host, fresh, pools, error }, same) {
    last = fresh || last === undefined ? await Cluster.of(poolsOf(pools)) : last
    const refusal = error?.includes('already assigned') ? 'address-taken' : 'address-outside'
    same(await last.assignAddress(host, ip), error === null ? undefined : refusal)
  },

  async releaseOptions({ allocate: [address], release: [how] }, same) {
    const { allocator } = await (await Cluster.of([aPool('p', `${address}/32`, 32)])).node('n1')
    const owner = aPod('owner').handle
    same('refused' in (await allocator.assign(aPod('owner'))), false)
    const freed = await allocator.release(how!.handle ?? owner)
    same(freed, how!.error ? [] : [address])
    same(allocator.held().has(owner), how!.error)
  },

  async releaseIPs({ ip, pools, autoAssign, notAllocated }, same) {
    const { allocator } = await (await Cluster.of(poolsOf(pools))).node('n1')
    const pods = Array.from({ length: autoAssign }, (_, i) => aPod(`p${i}`))
    for (const pod of pods) same('refused' in (await allocator.assign(pod)), false)
    const asked = typeof ip === 'string' ? [aPod(ip)] : pods
    const freed = (await Promise.all(asked.map(({ handle }) => allocator.release(handle)))).flat()
    same(freed.length, asked.length - notAllocated.length)
    same(allocator.held().size, 0)
  },

  async claimAffinity({ cidr, host, pools, assignedToHostA, claimed, failed }, same) {
    const cluster = await Cluster.of(poolsOf(pools))
    if (assignedToHostA !== null) same(await cluster.assignAddress('host-a', assignedToHostA), undefined)
    same(await cluster.claim(host, cidr, blocksWithin(cidr)), { claimed, failed })
  },

  async determinePools(row, same) {
    const [one, two] = row.family === 4 ? ['10.0.0.0/24', '20.0.0.0/24'] : ['5001:0:0:1a::/64', '5001:0:0:1b::/64']
    const pools = [
      aPool('pool1', one, undefined, { disabled: !row.pool1Enabled, nodeSelector: row.pool1Selector }),
      aPool('pool2', two, undefined, { disabled: !row.pool2Enabled, nodeSelector: row.pool2Selector }),
    ]
    const asked = [...(row.requestPool1 ? ['pool1'] : []), ...(row.requestPool2 ? ['pool2'] : [])]
    const family: Family = row.family === 4 ? 'ipv4' : 'ipv6'
    const choice = { family, use: 'Workload', pools: asked.length === 0 ? undefined : asked } as const
    const found = poolsFor(pools, choice, { node: selector => matchesSelector(selector, row.nodeLabels) })
    // the corpus has the ranges as they were written there
    const isFirst = (range: string) => /^(10\.0\.0\.1\/|5001:.*1a[:0]*\/)/.test(range)
    const names = 'refused' in found ? [] : found.map(({ metadata }) => metadata.name)
    same(
      names,
      row.expect.map(range => (isFirst(range) ? 'pool1' : 'pool2')),
    )
    if (row.error) same('refused' in found, true)
  },

  async namespaceSelector(
    { pool, nodeSelector, namespaceSelector, nodeLabels, namespace, namespaceLabels, match },
    same,
  ) {
    const selects: Selects = {
      node: selector => matchesSelector(selector, nodeLabels),
      namespace: selector => matchesSelector(selector, namespaceLabels),
    }
    const pools = [aPool('p', pool, undefined, { nodeSelector, namespaceSelector })]
    same(!('refused' in poolsFor(pools, { family: 'ipv4', use: 'Workload', namespace }, selects)), match)
  },
}

if (text === undefined)
  test('the other tables of Calico', t => {
    t.log(`skipped: no ${path}; set MARGAY_CORPORA to the folder that has it`)
    t.pass()
  })
else {
  const rows = text
    .split('\n')
    .filter(line => line !== '')
    .map(line => JSON.parse(line) as Row)

  for (const [i, row] of rows.entries()) {
    const differs = DIFFERS[row.name]
    test.serial(`${row.op} ${i}: ${row.name}${differs === undefined ? '' : ` (differs: ${differs})`}`, async t => {
      const same = (actual: unknown, expected: unknown) => t.deepEqual(actual, expected)
      // each row has the fields of its op
      await (play[row.op] as (row: Row, compare: typeof same) => Promise<void>)(row, same)
    })
  }

  test('every row that differs is one of the corpus, and so is every op that is played', t => {
    const names = new Set(rows.map(({ name }) => name))
    t.deepEqual(
      Object.keys(DIFFERS).filter(name => !names.has(name)),
      [],
    )
    t.deepEqual([...new Set(rows.map(({ op }) => op))].sort(), Object.keys(play).sort())
  })
}
