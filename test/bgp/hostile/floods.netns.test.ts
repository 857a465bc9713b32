// Too much of everything at a running `margay-bgp` that has few descriptors: connections, resets, prefixes, requests,
// and peers that neither read nor finish what they say. It stays in its budget, says so, and serves the others in time.
import { setTimeout as pause } from 'node:timers/promises'
import test from 'ava'
import { isRoot } from '../../kernel/scratch-netns.ts'
import { until } from '../interop.ts'
import { aMessage, anUpdate } from '../wire/wire.ts'
import { Arena, WITNESS } from './arena.ts'
import { anOpen, attributes, hex, type RawPeer, TYPE, table } from './raw-peer.ts'

const DESCRIPTORS = 256
const LIMITED = '198.18.4.1'
const SENDER = '198.18.4.2'
const DEAF = '198.18.4.3'
const SLOW_OPEN = '198.18.4.4'
const SLOW_UPDATE = '198.18.4.5'
const KNOWN = '198.18.4.6'
const ASKER = '198.18.4.7'
const LIMIT = { max: 10_000, restart: 2 }

let arena: Arena
const serial = isRoot ? test.serial : test.serial.skip
if (isRoot) {
  test.before(async () => {
    arena = await Arena.start(
      [
        { address: LIMITED, asn: 65002, maxPrefixes: LIMIT },
        { address: SENDER, asn: 65002 },
        { address: DEAF, asn: 65003, holdTime: 300 },
        { address: SLOW_OPEN, asn: 65002, openHold: 3 },
        { address: SLOW_UPDATE, asn: 65002, holdTime: 3 },
        { address: KNOWN, asn: 65002 },
        { address: ASKER, asn: 65003 },
        { range: '198.18.5.0/24', asn: 65002 },
      ],
      { limits: ['prlimit', `--nofile=${DESCRIPTORS}:${DESCRIPTORS}`] },
    )
  })
  test.after.always(() => arena?.[Symbol.asyncDispose]())
} else
  test('a running speaker is not flooded here', t => {
    t.log('skipped: needs root')
    t.pass()
  })

/** Runs `attack` `count` times, `width` at a time. */
async function flood(count: number, width: number, attack: (i: number) => Promise<void>): Promise<void> {
  let next = 0
  const worker = async () => {
    while (next < count) await attack(next++)
  }
  await Promise.all(Array.from({ length: width }, worker))
}

/** The most descriptors that the speaker has open while `work` goes on. */
async function mostDescriptors(work: Promise<void>): Promise<number> {
  let most = 0
  const look = setInterval(() => {
    if (arena.alive) most = Math.max(most, arena.descriptors)
  }, 20)
  await work
  clearInterval(look)
  return most
}

type Health = { listener: { unknown: number; rejected: number; droppedUnanswered: number } }

serial('ten thousand connections of unknown hosts are rejected and counted, few of them with an answer', async t => {
  const { listener: before } = (await arena.ask('GET', '/healthz')) as Health
  const startMs = performance.now()
  let answers = 0
  const most = await mostDescriptors(
    flood(10_000, 200, async i => {
      const peer = await arena.dial(`198.19.${i >> 8}.${i & 255}`).catch(() => undefined)
      await peer?.gone()
      answers += peer?.heard.length ?? 0
      peer?.destroy()
    }),
  )
  const seconds = (performance.now() - startMs) / 1000
  const { listener } = (await arena.ask('GET', '/healthz')) as Health
  t.log(`${seconds.toFixed(1)} s, ${answers} answers, at most ${most} descriptors, ${arena.memoryMiB.toFixed(0)} MiB`)
  t.true(listener.unknown - before.unknown >= 9_990, JSON.stringify(listener))
  t.true(listener.rejected <= 10 * seconds + 11)
  t.true(most < 150)
  await arena.assertUnharmed(t)
})

serial(
  'unknown hosts, peers and neighbours of a range that reset their connections at once do not crash us',
  async t => {
    await flood(3000, 100, async i => {
      const address = [`198.19.0.${i & 255}`, KNOWN, `198.18.5.${(i % 90) + 1}`][i % 3]!
      const peer = await arena.dial(address).catch(() => undefined)
      peer?.reset()
    })
    await arena.assertUnharmed(t)
  },
)

serial('one known address that opens two thousand connections and closes none costs few descriptors', async t => {
  const open: RawPeer[] = []
  const most = await mostDescriptors(
    flood(2000, 50, async () => {
      const peer = await arena.dial(KNOWN, { stubborn: true }).catch(() => undefined)
      if (peer !== undefined) open.push(peer)
      await peer?.next(TYPE.open).catch(() => undefined)
    }),
  )
  t.log(`at most ${most} descriptors, ${arena.memoryMiB.toFixed(0)} MiB`)
  t.true(most < 150)
  for (const peer of open) peer.destroy()
  await arena.assertUnharmed(t)
  const last = await arena.dial(KNOWN)
  await last.establish()
  last.reset()
})

serial(
  'a peer that announces up to 5,000,000 prefixes past its limit of 10,000 gets Cease/1 with family and limit',
  async t => {
    const beforeMiB = arena.memoryMiB
    for (const count of [500_000, 500_000, 5_000_000]) {
      const peer = await arena.dial(LIMITED)
      await peer.establish()
      const poured = peer.pour(table(count, 65002))
      t.is(await peer.dismissed(), `6/1 000101${hex(LIMIT.max, 4)}`)
      await poured
      const { reason, prefixes } = await arena.peer(LIMITED)
      t.is(reason?.code, 'prefix-limit')
      t.regex(reason?.detail ?? '', /10000 ipv4-unicast.*tried again in 2 s/)
      t.is(prefixes.received, 0)
      t.deepEqual(await arena.sources('11.0.0.0/24'), [])
      // refused with the same Cease, or without a word when there are many to refuse
      const early = await arena.dial(LIMITED)
      await early.gone()
      t.false(early.heard.some(({ type, body }) => type !== TYPE.notification || body[1] !== 1))
      await until('the limit is forgiven', opened)
    }
    const grownMiB = arena.memoryMiB - beforeMiB
    t.log(`grown by ${grownMiB.toFixed(0)} MiB`)
    t.true(grownMiB < 100)
    await arena.assertUnharmed(t)
  },
)

/** Whether the limited peer gets an OPEN again. */
async function opened(): Promise<boolean> {
  const peer = await arena.dial(LIMITED)
  const { type } = await Promise.race([peer.next(TYPE.open), peer.next(TYPE.notification)])
  peer.destroy()
  return type === TYPE.open
}

serial('a peer that reads none of 200,000 routes uses little memory, and the others get all of them', async t => {
  const deaf = await arena.dial(DEAF)
  await deaf.establish({ asn: 65003, holdTime: 300, routerId: 'c6120403' })
  deaf.pause()
  const sender = await arena.dial(SENDER)
  await sender.establish({ routerId: 'c6120402' })
  const beforeMiB = arena.memoryMiB
  const startMs = performance.now()
  await sender.pour(table(200_000, 65002))
  await until('the witness has all', async () => (await arena.peer(WITNESS.name)).prefixes.announced >= 200_000)
  const has = (peer: RawPeer, round: number) => {
    const last = Buffer.from(hex(100_000 * (round + 1) + 49_999, 4), 'hex')
    return peer.heard.slice(-60_000).some(({ type, body }) => type === TYPE.update && body.includes(last))
  }
  await until('the witness has read all', () => has(arena.witness, 0))
  t.log(
    `${((performance.now() - startMs) / 1000).toFixed(1)} s, grown by ${(arena.memoryMiB - beforeMiB).toFixed(0)} MiB`,
  )
  t.true(arena.memoryMiB - beforeMiB < 150)
  // churn that it does not read either costs no more
  const onceMiB = arena.memoryMiB
  for (let round = 1; round <= 3; round++) await sender.pour(table(200_000, 65002, round))
  await until('the churn is passed on', () => has(arena.witness, 3))
  t.log(`after churn ${(arena.memoryMiB - onceMiB).toFixed(0)} MiB more`)
  t.true(arena.memoryMiB - onceMiB < 100)
  const { state, messages } = await arena.peer(DEAF)
  t.is(state, 'Established')
  t.true(messages.out < 30_000, `${messages.out} messages to a peer that does not read`)
  deaf.resume()
  await until('the slow reader catches up', () => has(deaf, 3))
  await arena.assertUnharmed(t)
  deaf.close()
  sender.close()
})

serial('ten thousand route refreshes of a peer that reads nothing use no more memory', async t => {
  const asker = await arena.dial(ASKER)
  await asker.establish({
    asn: 65003,
    routerId: 'c6120407',
    capabilities: '01 04 0001 00 01 41 04 0000fdeb 02 00 46 00',
  })
  asker.pause()
  const beforeMiB = arena.memoryMiB
  await asker.pour(Array.from({ length: 10_000 }, () => aMessage(TYPE.refresh, '0001 00 01')))
  await pause(1000)
  t.log(`grown by ${(arena.memoryMiB - beforeMiB).toFixed(0)} MiB`)
  t.true(arena.memoryMiB - beforeMiB < 60)
  await arena.assertUnharmed(t)
  asker.reset()
})

serial('a peer that sends its OPEN at one octet a second is gone when the time for it is over', async t => {
  const peer = await arena.dial(SLOW_OPEN)
  const startMs = performance.now()
  peer.drip(anOpen())
  t.is(await peer.dismissed(), '4/0')
  const seconds = (performance.now() - startMs) / 1000
  t.true(seconds > 2.5 && seconds < 7, `${seconds.toFixed(1)} s`)
  t.is((await arena.peer(SLOW_OPEN)).reason?.code, 'hold-timer')
  await arena.assertUnharmed(t)
})

serial('a peer that sends an UPDATE at one octet a second is gone when the hold time is over', async t => {
  const peer = await arena.dial(SLOW_UPDATE)
  await peer.establish({ holdTime: 3 })
  peer.silence()
  const startMs = performance.now()
  peer.drip(anUpdate({ attributes: attributes(65002), nlri: '18 cb0071' }))
  t.is(await peer.dismissed(), '4/0')
  const seconds = (performance.now() - startMs) / 1000
  t.true(seconds > 1.5 && seconds < 8, `${seconds.toFixed(1)} s`)
  t.is((await arena.peer(SLOW_UPDATE)).reason?.code, 'hold-timer')
  await arena.assertUnharmed(t)
})
