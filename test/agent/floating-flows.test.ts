import test from 'ava'
import { FloatingFlows } from '../../agent/floating-flows.ts'
import type { Flow } from '../../kernel/port/conntrack.ts'
import { ERRNO, KernelError } from '../../kernel/port/error.ts'
import type { NftRuleset } from '../../kernel/port/nftables.ts'
import { ManualClock } from '../../lib/clock.ts'
import { silentLog } from '../../lib/log.ts'

/** `left`: what an earlier run translates in IPv4. */
function bench(left: Readonly<Record<string, string>> = {}) {
  let flows: Flow[] = []
  let applied = Promise.resolve()
  const [clock, asked] = [new ManualClock(), [] as string[][]]
  const refusal: { next?: KernelError; reading?: KernelError } = {}
  const cutter = new FloatingFlows({
    ...{ clock, log: silentLog, table: 'floating', applied: () => applied },
    kernel: {
      async flowsOf(addresses, each) {
        asked.push([...addresses])
        for (const flow of flows)
          if (addresses === 'all' || addresses.has(flow.original.source) || addresses.has(flow.reply.source)) each(flow)
      },
      async deleteFlows(gone) {
        const { next } = refusal
        delete refusal.next
        if (next !== undefined) return gone.map(() => next)
        flows = flows.filter(flow => !gone.includes(flow))
        return gone.map(() => undefined)
      },
      async nftables({ family }) {
        if (refusal.reading !== undefined) throw refusal.reading
        if (family !== 'ip') return undefined
        const elements = Object.entries(left).map(([key, data]) => ({ key: [key], data: [data] }))
        return { elements: [{ set: 'targets', elements }] } as unknown as NftRuleset
      },
    },
  })
  let id = 0
  /** A connection to `to`, where `pod` answers. */
  const opened = (to: string, pod: string, from = '203.0.113.9') => {
    const [original, reply] = [
      { source: from, destination: to, protocol: 17 },
      { source: pod, destination: from, protocol: 17 },
    ]
    flows.push({ id: id++, family: 'ipv4', original, reply, isExpected: false, isAnswered: true })
  }
  const left_ = async () => {
    for (let i = 0; i < 20; i++) await Promise.resolve()
    return flows.map(({ original, reply }) => `${original.destination} ${reply.source}`)
  }
  return { cutter, clock, asked, refusal, opened, flows: left_, hold: (until: Promise<void>) => (applied = until) }
}

const to = (address: string, pod: string) => ({ address, to: pod })

test('only connections that lead elsewhere than their floating address does now are cut', async t => {
  const it = bench()
  await it.cutter.adopt()
  it.opened('192.0.2.7', '192.0.2.7')
  it.opened('192.0.2.7', '10.0.0.1')
  it.opened('10.0.0.1', '10.0.0.1')
  it.opened('192.0.2.8', '10.0.0.1')
  it.cutter.follow([to('192.0.2.7', '10.0.0.1'), to('192.0.2.8', '10.0.0.1')])
  t.deepEqual(await it.flows(), ['192.0.2.7 10.0.0.1', '10.0.0.1 10.0.0.1', '192.0.2.8 10.0.0.1'])
  it.cutter.follow([to('192.0.2.7', '10.0.0.2'), to('192.0.2.8', '10.0.0.1')])
  t.deepEqual(await it.flows(), ['10.0.0.1 10.0.0.1', '192.0.2.8 10.0.0.1'])
  const { length } = it.asked
  it.cutter.follow([to('192.0.2.7', '10.0.0.2'), to('192.0.2.8', '10.0.0.1')])
  it.cutter.follow([to('192.0.2.7', '10.0.0.2'), to('192.0.2.8', '10.0.0.1')])
  await it.flows()
  t.is(it.asked.length, length, 'the same again walks no table')
  it.cutter.follow([])
  t.deepEqual(await it.flows(), ['10.0.0.1 10.0.0.1'])
})

test('what an earlier run translated and nothing does any more is cut, and what goes on is kept', async t => {
  const it = bench({ '192.0.2.7': '10.0.0.1', '192.0.2.8': '10.0.0.2' })
  await it.cutter.adopt()
  it.opened('192.0.2.7', '10.0.0.1')
  it.opened('192.0.2.8', '10.0.0.2')
  it.cutter.follow([to('192.0.2.8', '10.0.0.2')])
  t.deepEqual(await it.flows(), ['192.0.2.8 10.0.0.2'])
})

test('a table that others wrote what cannot be read into keeps no agent from starting', async t => {
  const it = bench({ '192.0.2.7': '10.0.0.1' })
  it.refusal.reading = new KernelError(ERRNO.EBADMSG, 'list', 'table')
  await it.cutter.adopt()
  it.opened('192.0.2.7', '10.0.0.1')
  it.cutter.follow([])
  t.deepEqual(await it.flows(), ['192.0.2.7 10.0.0.1'])
})

test('nothing is cut before the kernel translates otherwise, and what the kernel refuses is tried again', async t => {
  const it = bench({ '192.0.2.7': '10.0.0.1' })
  await it.cutter.adopt()
  it.opened('192.0.2.7', '10.0.0.1')
  const { promise, resolve } = Promise.withResolvers<void>()
  it.hold(promise)
  it.cutter.follow([to('192.0.2.7', '10.0.0.2')])
  t.deepEqual(await it.flows(), ['192.0.2.7 10.0.0.1'])
  it.refusal.next = new KernelError(ERRNO.EBUSY, 'delete connection', 'one')
  resolve()
  t.deepEqual(await it.flows(), ['192.0.2.7 10.0.0.1'])
  it.cutter.follow([])
  it.clock.advance(5000)
  t.deepEqual(await it.flows(), [])
  it.cutter.close()
})
