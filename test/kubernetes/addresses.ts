// Many pods at once: none without an address, none with another's, and nothing left when they are gone.
import assert from 'node:assert/strict'
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
]
