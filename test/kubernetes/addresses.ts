// Many pods at once: none without an address, none with another's, nothing left when they are gone, and what the API server has of that.
import assert from 'node:assert/strict'
import { until } from '../../lab/program.ts'
import { type CalicoObjects, calicoProblems } from '../ipam/calico-check.ts'
import type { Case, Cluster } from './case.ts'
import { allReach, holdings, nothingLeft, withPods } from './observe.ts'

const PODS = 100

/** What 100 pods that came and went were like. Times are those of `Date.now`. */
type Churn = {
  pods: number
  addresses: readonly string[]
  upSeconds: number
  sinceMs: number
  untilMs: number
  heldBefore: Record<string, string[]>
}

const played = new WeakMap<Cluster, Promise<Churn>>()

/** Lets 100 pods come and go, once per run: several cases look at it. */
export function hundredPods(cluster: Cluster): Promise<Churn> {
  let churn = played.get(cluster)
  if (churn === undefined) {
    churn = play(cluster)
    played.set(cluster, churn)
  }
  return churn
}

async function play(cluster: Cluster): Promise<Churn> {
  const heldBefore = await holdings(cluster)
  const sinceMs = Date.now()
  let upSeconds = 0
  const addresses = await withPods(cluster, 'hundred', PODS, async pods => {
    upSeconds = (Date.now() - sinceMs) / 1000
    await allReach([...pods.slice(0, 2), ...pods.slice(-2)])
    return pods.map(({ address }) => address)
  })
  return { pods: PODS, addresses, upSeconds, sinceMs, untilMs: Date.now(), heldBefore }
}

export const addressCases: readonly Case[] = [
  {
    title: `${PODS} pods come up, each with an address of its own, and leave no interface, route or address behind`,
    short: true,
    async run(cluster) {
      const { addresses, upSeconds, heldBefore } = await hundredPods(cluster)
      assert.equal(addresses.length, PODS)
      assert.equal(new Set(addresses).size, PODS)
      await nothingLeft(cluster, heldBefore)
      return `all Ready after ${upSeconds.toFixed(1)} s`
    },
  },
  {
    title:
      'calicoctl ipam check would find nothing wrong with blocks, pods, nodes and pools, with pods and after them, but the nodes’ ends of path probes, which Calico has none of',
    short: true,
    async run(cluster) {
      const withThem = await withPods(cluster, 'checked', 12, () => soundAfter(cluster))
      const after = await soundAfter(cluster)
      return `sound ${withThem.toFixed(0)} s after the pods were Ready, ${after.toFixed(0)} s after they were gone`
    },
  },
]

/** Blocks are published two minutes late at the most, and addresses that tunnels had are held for half a minute. */
const SOUND_MS = 180_000

/** How long it takes until nothing is wrong; rejects with what stays. */
async function soundAfter({ lab }: Cluster): Promise<number> {
  const startedMs = performance.now()
  let problems: readonly string[] = []
  const isSound = async () => {
    const objects = await objectsOf(lab)
    const probes = objects.nodes.map(({ metadata: { name } }) => `(margay-probe-${name}-ipv4)`)
    const found = calicoProblems(objects, ['at once', 'published', 'cluster'], { nowMs: Date.now() })
    const isProbe = ({ rule, about }: { rule: string; about: string }) =>
      rule === 'allocated and not in use' && probes.some(handle => about.endsWith(handle))
    problems = found.filter(each => !isProbe(each)).map(({ rule, about }) => `${rule}: ${about}`)
    return problems.length === 0
  }
  assert.ok(await until(isSound, SOUND_MS, 2000), problems.join('; '))
  return (performance.now() - startedMs) / 1000
}

async function objectsOf(lab: Cluster['lab']): Promise<CalicoObjects> {
  const list = async (what: string, ...args: string[]): Promise<unknown> =>
    ((await lab.get(what, ...args)) as { items: unknown[] }).items
  const isThere = async (what: string) => (await lab.get(`${what}/default`)) !== undefined
  const all = {
    pools: await list('ippools'),
    blocks: await list('ipamblocks'),
    handles: await list('ipamhandles'),
    nodes: await list('nodes'),
    pods: await list('pods', '-A'),
    services: await list('services', '-A'),
    // Kubernetes has none: they are derived from Pods
    workloads: [],
    singletons: [
      ...((await isThere('kubecontrollersconfigurations')) ? ['KubeControllersConfiguration'] : []),
      ...((await isThere('clusterinformations')) ? ['ClusterInformation'] : []),
    ],
  }
  return all as CalicoObjects
}
