// Calico's own IPAM tables, restated as data. Left out: borrowing from another node's block (strict affinity is the
// rule here) and claims of whole ranges, which nothing asks for.
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { kinds } from '../../api/kinds.ts'
import { createFakeStore, type FakeStore } from '../../datastore/fake.ts'
import { type Family, familyOf } from '../../lib/ip.ts'
import { aNode, aPod, aPool, converge, convergeAll, type TestNode } from './world.ts'

test.after('calicoctl ipam check would find nothing in what the tests left', convergeAll)

type AutoAssign = {
  pools: [cidr: string, blockSize: number, use?: 'workload' | 'tunnel'][]
  from?: string
  v4?: number
  v6?: number
  got4?: number
  got6?: number
  error?: string
  maxBlocksPerHost?: number
  host?: string
  fresh?: boolean
  note?: string
}
type Corpus = { autoAssign: AutoAssign[]; assignIP: { pools: string[]; ip: string; ok?: boolean; fresh?: boolean }[] }

const root = new URL('../..', import.meta.url).pathname
const path = join(process.env['MARGAY_CORPORA'] ?? join(root, '../shared/corpora'), 'calico-ipam-cases.json')
const corpus: Corpus | undefined = existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')) : undefined

if (corpus === undefined)
  test('addresses are assigned as in the cases of Calico', t => {
    t.log(`skipped: no ${path}; set MARGAY_CORPORA to the folder that has it`)
    t.pass()
  })
else {
  let store: FakeStore = createFakeStore()
  let nodes = new Map<string, TestNode>()

  async function nodeOf(name: string): Promise<TestNode> {
    const known = nodes.get(name)
    if (known !== undefined) return known
    const node = aNode(store, name)
    nodes.set(name, node)
    node.start()
    await converge(store, node)
    return node
  }

  async function begin(pools: AutoAssign['pools'], maxBlocksPerHost?: number): Promise<void> {
    store = createFakeStore()
    nodes = new Map()
    for (const [i, [cidr, blockSize, use]] of pools.entries()) {
      const spec = use && { allowedUses: [use === 'workload' ? ('Workload' as const) : ('Tunnel' as const)] }
      await store.create('IPPool', aPool(`p${i}`, cidr, blockSize, spec))
    }
    if (maxBlocksPerHost !== undefined) {
      const input = { metadata: { name: 'default' }, spec: { maxBlocksPerHost } }
      await store.create('IPAMConfiguration', kinds.IPAMConfiguration.schema.parse(input))
    }
  }

  for (const [i, row] of corpus.autoAssign.entries()) {
    if (row.note?.includes('borrowed')) continue
    test.serial(`autoAssign ${i}: ${JSON.stringify(row.pools)} ${row.v4 ?? 0}+${row.v6 ?? 0}`, async t => {
      if (row.fresh !== false) await begin(row.pools, row.maxBlocksPerHost)
      const node = await nodeOf(row.host ?? 'n1')
      const got: Record<Family, number> = { ipv4: 0, ipv6: 0 }
      let refused: string | undefined
      for (const [family, count] of [
        ['ipv4', row.v4 ?? 0],
        ['ipv6', row.v6 ?? 0],
      ] as const)
        for (let n = 0; n < count; n++) {
          const pools = row.from === undefined ? undefined : [row.from]
          const answer = await node.allocator.assign({ ...aPod(`${i}-${family}-${n}`), families: [family], pools })
          if ('refused' in answer) refused = answer.refused
          else for (const { address } of answer) got[familyOf(address)]++
        }
      t.deepEqual(got, { ipv4: row.got4 ?? 0, ipv6: row.got6 ?? 0 })
      if (row.error !== undefined) t.is(refused, row.error === 'BlockLimit' ? 'block-limit' : 'no-pool')
    })
  }

  for (const [i, row] of corpus.assignIP.entries())
    test.serial(`assignIP ${i}: ${row.ip} of ${row.pools.join()}`, async t => {
      if (i === 0 || row.fresh) await begin(row.pools.map(cidr => [cidr, 26]))
      const node = await nodeOf('n1')
      const answer = await node.allocator.assign({ ...aPod(`ip-${i}`), addresses: [row.ip] })
      t.is(!('refused' in answer), row.ok === true)
    })
}
