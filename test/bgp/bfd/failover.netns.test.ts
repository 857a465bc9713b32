// The short form of `npm run bench:bfd`: a router falls silent under a stream of packets. How long that takes is
// counted in lost packets, and held to the promise, as this machine is now, once of a few times: machines stand still.
import test from 'ava'
import { slowness } from '../../slowness.ts'
import { bird } from '../daemons.ts'
import { runnable } from '../interop.ts'
import { Failover } from './failover.ts'

const TIMES = 5

for (const [intervalMs, multihop, promiseMs] of [
  [50, false, 200],
  [300, true, 1000],
] as const)
  (runnable(bird) ? test.serial : test.serial.skip)(
    `with ${intervalMs} ms x 3${multihop ? ' over routers' : ''} the last packet to a router that falls silent is lost within ${promiseMs} ms`,
    async t => {
      await using failover = await Failover.open({ intervalMs, multihop })
      const took: { lostMs: number; mostMs: number }[] = []
      const isKept = () => took.some(({ lostMs, mostMs }) => lostMs < mostMs)
      while (!isKept() && took.length < TIMES) {
        await failover.ready()
        const before = slowness()
        const { lostMs } = await failover.lost()
        took.push({ lostMs, mostMs: promiseMs * Math.max(before, slowness()) })
      }
      t.log(`last lost packets after ${took.map(({ lostMs }) => Math.round(lostMs)).join(', ')} ms`)
      t.true(isKept(), JSON.stringify(took))
    },
  )
