// What is read from the steps of a packet as the kernel tells them.
import test from 'ava'
import { packetsIn, translationIn } from '../../../agent/trace/trace-reading.ts'
import type { TraceStep } from '../../../kernel/port/trace.ts'

const header = (source: string, destination: string) =>
  Buffer.from([0x45, ...new Array(8).fill(0), 6, 0, 0, ...source.split('.'), ...destination.split('.')].map(Number))

const [POD, NODE, SERVICE, BACKEND] = ['10.244.1.1', '192.0.2.11', '10.96.0.10', '192.0.2.12']

const step = (table: string, chain: string, handle: number, network: Buffer): TraceStep => ({
  ...{ packet: 1, family: 'ip', table, chain, of: 'rule', handle, verdict: 'accept', network },
})

const OWN = {
  table: 'margay-trace',
  matchOf: new Map([[1, 'there' as const]]),
  isOurs: (table: string) => table.startsWith('margay'),
}
const TEXTS = new Map([
  [
    'ip margay',
    [{ chain: 'outgoing', hook: 'postrouting', type: 'nat', rules: new Map([[7, { text: 'masquerade' }]]) }],
  ],
])

/** From before all chains to behind those that give a packet the node's address. */
const translation = (target: string) =>
  translationIn(
    packetsIn(
      [
        step('margay-trace', 'in', 1, header(POD, SERVICE)),
        step('margay', 'outgoing', 7, header(POD, target)),
        step('margay-trace', 'left', 2, header(NODE, target)),
      ],
      OWN,
    ),
    TEXTS,
    OWN,
  )

test('a destination that no rule of nftables changed is told with the source that one changed', t => {
  const alone = translation(SERVICE)
  t.like(alone, { by: { chain: 'outgoing', ours: true }, source: NODE })
  t.is(alone!.destination, undefined)
  t.like(translation(BACKEND), { by: { chain: 'outgoing', ours: true }, source: NODE, destination: BACKEND })
})
