// IPPools that people change while pods have addresses of them: what the API server refuses, what a condition names, and
// what waits for the last pod.
import assert from 'node:assert/strict'
import { patchWords } from '../../lab/kubernetes/objects.ts'
import { until } from '../../lab/program.ts'
import type { Case, Cluster } from './case.ts'
import { allReach, blocksOf, broken, pairsOfNodes, pingWhile, seconds, withPods } from './observe.ts'

const FIRST = 'default-ipv4-ippool'

const pool = (name: string, spec: Record<string, unknown>) => ({
  apiVersion: 'projectcalico.org/v3',
  kind: 'IPPool',
  metadata: { name },
  spec: { ipipMode: 'Never', vxlanMode: 'CrossSubnet', natOutgoing: true, ...spec },
})

const patch = (name: string, spec: object) => patchWords(`ippool/${name}`, { spec })

export const poolCases: readonly Case[] = [
  {
    title: 'the API server refuses a pool without a CIDR in it, and one with a block size that no pool can have',
    short: true,
    async run(cluster) {
      for (const [name, spec] of Object.entries({
        'no-cidr': { cidr: 'not-a-cidr', blockSize: 99 },
        'no-block-size': { cidr: '10.245.0.0/24', blockSize: 99 },
        'too-small': { cidr: '10.245.0.0/28', blockSize: 26 },
      }))
        await refused(cluster, name, spec)
      return undefined
    },
  },
  {
    title: 'the CIDR and the block size of a pool with pods cannot be changed, and its pods keep their network',
    short: true,
    async run(cluster) {
      const { lab } = cluster
      return await withPods(cluster, 'in-pool', 3, async pods => {
        for (const spec of [{ cidr: '10.245.0.0/16' }, { blockSize: 28 }]) {
          const run = await lab.kubectl(patch(FIRST, spec))
          assert.notEqual(run.code, 0, `${JSON.stringify(spec)} was taken`)
          assert.match(run.stderr, /cannot change/)
        }
        return `${await allReach(pods)} pairs`
      })
    },
  },
  {
    title: 'a pool that overlaps an older one is named by a condition, gives no address, and takes no packet',
    short: true,
    async run(cluster) {
      const { lab } = cluster
      return await withPods(cluster, 'overlapped', 3, async pods => {
        await lab.apply([pool('overlapping', { cidr: '10.244.0.0/17' })])
        try {
          let said: string[] = []
          const named = async () => {
            said = (await broken(cluster, 'n1'))?.said ?? []
            return said.some(each => /PoolsDisjoint/.test(each))
          }
          assert.ok(await until(named, 30_000, 500), `n1 says ${said.join('; ') || 'that all is well'}`)
          const pairs = await withPods(cluster, 'beside-overlap', 3, after => allReach([...pods, ...after]))
          return `${pairs} pairs; ${said.find(each => /PoolsDisjoint/.test(each))?.slice(0, 120)}`
        } finally {
          await lab.must(['delete', 'ippool/overlapping', '--timeout=60s'])
        }
      })
    },
  },
  {
    title: 'while tunnels leave a pool that is disabled, and come back, pods that are there lose no packet',
    short: true,
    async run(cluster) {
      const { lab } = cluster
      const tunnels = async () => {
        const { items } = (await lab.get('nodes')) as {
          items: { metadata: { annotations?: Record<string, string> } }[]
        }
        return items.map(({ metadata }) => metadata.annotations?.['projectcalico.org/IPv4VXLANTunnelAddr'] ?? '')
      }
      const eachIn = (range: string) => async () => (await tunnels()).every(address => address.startsWith(range))
      await lab.apply([pool('other', { cidr: '10.245.0.0/24', blockSize: 28 })])
      try {
        return await withPods(cluster, 'tunnelled', 3, async pods => {
          for (const { address } of pods) assert.match(address, /^10\.244\./)
          const pings = await pingWhile(pairsOfNodes(pods), async () => {
            await lab.must(patch(FIRST, { disabled: true }))
            assert.ok(await until(eachIn('10.245.'), 30_000, 200), `${await tunnels()}`)
            await seconds(2)
            await lab.must(patch(FIRST, { disabled: false }))
            await lab.must(['delete', 'ippool/other', '--wait=false'])
            assert.ok(await until(eachIn('10.244.'), 30_000, 200), `${await tunnels()}`)
            await seconds(2)
          })
          assert.deepEqual(pings.lost, [])
          return `${pings.sent} pings`
        })
      } finally {
        await lab.kubectl(patch(FIRST, { disabled: false }))
        await lab.kubectl(['delete', 'ippool/other', '--ignore-not-found', '--timeout=120s'])
      }
    },
  },
  {
    title:
      'a deleted pool stays until its last pod is gone: its pods keep their network, and new ones get no address of it',
    short: true,
    async run(cluster) {
      const { lab } = cluster
      await lab.apply([pool('leaving', { cidr: '10.245.0.0/24', blockSize: 28 })])
      await lab.must(patch(FIRST, { disabled: true }))
      let disabled = true
      const enable = async () => {
        if (disabled) await lab.must(patch(FIRST, { disabled: false }))
        disabled = false
      }
      try {
        await withPods(cluster, 'last', 3, async pods => {
          for (const { address } of pods) assert.match(address, /^10\.245\.0\./)
          await enable()
          await lab.must(['delete', 'ippool/leaving', '--wait=false'])
          await withPods(cluster, 'of-other-pool', 3, async others => {
            for (const { address } of others) assert.match(address, /^10\.244\./)
            await seconds(3)
            const held = (await lab.get('ippool/leaving')) as { metadata: { deletionTimestamp?: string } } | undefined
            assert.ok(held?.metadata.deletionTimestamp, 'the pool went with pods in it')
            await allReach([...pods, ...others])
          })
        })
        const startedMs = performance.now()
        const gone = async () => (await lab.get('ippool/leaving')) === undefined
        assert.ok(await until(gone, 120_000, 1000), 'the pool stays without pods')
        // addresses that tunnels had while the first pool was disabled are held for half a minute, and rest for another one
        const noBlock = async () => (await blocksOf(cluster)).every(cidr => !cidr.startsWith('10.245.'))
        assert.ok(await until(noBlock, 120_000, 1000), 'blocks of the pool are left')
        return `gone ${((performance.now() - startedMs) / 1000).toFixed(0)} s after its last pod`
      } finally {
        await enable()
        await lab.kubectl(['delete', 'ippool/leaving', '--ignore-not-found', '--wait=false'])
      }
    },
  },
]

async function refused({ lab }: Cluster, name: string, spec: Record<string, unknown>): Promise<void> {
  const object = JSON.stringify(pool(name, spec))
  const run = await lab.kubectl(['apply', '-f', '-'], { stdin: object })
  if (run.code === 0) await lab.must(['delete', `ippool/${name}`, '--wait=false'])
  assert.notEqual(run.code, 0, `${JSON.stringify(spec)} was taken`)
}
