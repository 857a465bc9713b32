// Honest readiness: what keeps pods from a network is said, by the Node or by a condition that names it.
import assert from 'node:assert/strict'
import { patchWords } from '../../lab/kubernetes/objects.ts'
import { until } from '../../lab/program.ts'
import type { Case, Cluster } from './case.ts'
import { broken, healthy, isReady, seconds } from './observe.ts'

type Fault = {
  what: string
  /** Some condition must match this. */
  named: RegExp
  /** Whether the node itself must become NotReady. */
  unready: boolean
  short: boolean
  /** What else is looked at while it is so, and is shown. */
  meanwhile?: (cluster: Cluster) => Promise<string>
  make: (cluster: Cluster) => Promise<unknown>
  mend: (cluster: Cluster) => Promise<unknown>
}

const WATCHED_SECONDS = 12

const FAULTS: readonly Fault[] = [
  {
    what: 'without the right to read and write blocks, what is forbidden is named',
    named: /forbidden.*ipamblocks|ipamblocks.*forbidden/is,
    unready: false,
    short: true,
    async make({ margay }) {
      await margay.withholdBlocks()
      await margay.roll()
    },
    mend: async ({ margay }) => margay.restoreRights(),
  },
  {
    what: 'with its only pool disabled, a node names the pool, and its running pods keep it Ready',
    named: /PoolsUsable/,
    unready: false,
    short: true,
    make: ({ lab }) => lab.must(patchWords('ippool/default-ipv4-ippool', { spec: { disabled: true } })),
    mend: ({ lab }) => lab.must(patchWords('ippool/default-ipv4-ippool', { spec: { disabled: false } })),
  },
  {
    // one of nftables would be opened
    what: 'with a FORWARD chain of iptables-legacy that drops, a node is not ready and names the chain; STATUS calls meanwhile fill no log',
    named: /FORWARD/,
    unready: true,
    short: true,
    meanwhile: quietLog,
    make: ({ lab }) => lab.machine('n1').run(['iptables-legacy', '-P', 'FORWARD', 'DROP']),
    mend: ({ lab }) => lab.machine('n1').run(['iptables-legacy', '-P', 'FORWARD', 'ACCEPT']),
  },
]

export const readinessCases: readonly Case[] = [
  ...FAULTS.map(fault => ({
    title: fault.what,
    short: fault.short,
    async run(cluster: Cluster) {
      await fault.make(cluster)
      try {
        let said: string[] = []
        const named = async () => {
          said = (await broken(cluster, 'n1'))?.said ?? []
          return said.some(each => fault.named.test(each))
        }
        assert.ok(await until(named, 30_000, 500), `n1 says ${said.join('; ') || 'that all is well'}`)
        if (fault.unready) {
          assert.ok(await until(async () => !(await isReady(cluster.lab, 'n1')), 120_000, 1000), 'the Node stays Ready')
        }
        const also = await fault.meanwhile?.(cluster)
        const name = said.find(each => fault.named.test(each))?.slice(0, 160)
        return also === undefined ? name : `${also}; ${name}`
      } finally {
        await fault.mend(cluster)
        await healthy(cluster)
      }
    },
  })),
]

/** One line per change, not per call: kubelet and the runtime ask all the time. */
async function quietLog({ margay }: Cluster): Promise<string> {
  const before = (await margay.log('n1')).split('\n').length
  await seconds(WATCHED_SECONDS)
  const lines = (await margay.log('n1')).split('\n').slice(before - 1)
  assert.ok(lines.length < 5, `${lines.length} lines in ${WATCHED_SECONDS} s, such as ${lines[0]}`)
  return `${lines.length} lines in ${WATCHED_SECONDS} s`
}
