// Many pods at once: none without an address, none with another's, and nothing left when they are gone.
import assert from 'node:assert/strict'
import type { Case } from './case.ts'
import { allReach, holdings, nothingLeft, withPods } from './observe.ts'

export const addressCases: readonly Case[] = [
  {
    title: '100 pods come up, each with an address of its own, and leave no interface, route or address behind',
    short: true,
    async run(cluster) {
      const before = await holdings(cluster)
      const startedMs = performance.now()
      let upMs = 0
      await withPods(cluster, 'hundred', 100, async pods => {
        upMs = performance.now() - startedMs
        assert.equal(pods.length, 100)
        assert.equal(new Set(pods.map(({ address }) => address)).size, 100)
        await allReach([...pods.slice(0, 2), ...pods.slice(-2)])
      })
      await nothingLeft(cluster, before)
      return `all Ready after ${(upMs / 1000).toFixed(1)} s`
    },
  },
]
