// Machines of a node's link that have the address of a new pod.
import test from 'ava'
import { Duplicates } from '../../../agent/watch/duplicates.ts'
import type { Condition } from '../../../api/status.ts'
import { ERRNO, KernelError } from '../../../kernel/port/error.ts'
import { ManualClock } from '../../../lib/clock.ts'
import { settle } from '../../bgp/settle.ts'

const [POD, POD6, STRANGER, PROXY] = ['10.244.1.5', 'fd00:244::5', '02:00:00:00:00:77', '12:34:56:78:9a:bc']

function aNode(machines: Record<string, readonly string[]>, { fails = false } = {}) {
  const clock = new ManualClock()
  const asked: string[] = []
  let told: readonly Condition[] = []
  const watch = new Duplicates({
    clock,
    asker: {
      async who(_, address) {
        asked.push(address)
        await new Promise(setImmediate)
        if (fails) throw new KernelError(ERRNO.ENETDOWN, 'sendto', address)
        return machines[address] ?? machines['*'] ?? []
      },
    },
    uplink: async () => ({ ifindex: 2, name: 'eth0' }),
    report: conditions => (told = conditions),
  })
  watch.start()
  const pass = async (ms = 0) => {
    await settle(40)
    clock.advance(ms)
    await settle(40)
  }
  const pod = (id: string, ...addresses: string[]) => ({ id, owner: 'Pod default/a', addresses })
  return { clock, watch, asked, pass, pod, machines, told: () => told }
}

for (const address of [POD, POD6])
  test(`a machine of the link that has ${address} of a new pod is told with its MAC, until it has it no more`, async t => {
    const { clock, watch, pass, pod, machines, told } = aNode({ [address]: [STRANGER] })
    watch.added(pod('a', address))
    await pass()
    const [condition, ...others] = told()
    t.deepEqual(others, [])
    t.like(condition, { type: 'AddressesUnique', reason: 'LanAnswers', object: { kind: 'Address', name: address } })
    t.regex(condition!.message, /02:00:00:00:00:77 on eth0.*Pod default\/a/)
    machines[address] = []
    await pass(30_000)
    t.deepEqual(told(), [])
    watch.close()
    t.is(clock.pending, 0)
  })

test('what is told ends with the pod', async t => {
  const { watch, pass, pod, told } = aNode({ [POD]: [STRANGER] })
  watch.added(pod('a', POD))
  await pass()
  t.is(told().length, 1)
  watch.removed('a')
  t.deepEqual(told(), [])
  watch.close()
})

test('silent: a router of a cloud that answers for every address', async t => {
  const { watch, pass, pod, told } = aNode({ '*': [PROXY] })
  watch.added(pod('a', POD, POD6))
  await pass()
  t.deepEqual(told(), [])
  watch.close()
})

test('beside such a router the machine that has the address is told', async t => {
  const { watch, pass, pod, told } = aNode({ '*': [PROXY], [POD]: [PROXY, STRANGER] })
  watch.added(pod('a', POD))
  await pass()
  t.regex(told()[0]!.message, /the MAC 02:00:00:00:00:77 /)
  watch.close()
})

test('silent: a link that cannot be asked, and pods that were there before', async t => {
  const { watch, pass, pod, asked, told } = aNode({ [POD]: [STRANGER] }, { fails: true })
  watch.added(pod('a', POD))
  watch.adopt(pod('b', '10.244.1.6'))
  watch.added(pod('b', '10.244.1.6'))
  await pass()
  t.deepEqual([asked, told()], [[POD], []])
  watch.close()
})

test('a thousand pods at once ask eight at a time, and no more than five hundred wait', async t => {
  const { watch, pass, pod, asked } = aNode({})
  for (let i = 0; i < 1000; i++) watch.added(pod(`p${i}`, `10.244.${i >> 8}.${i & 255}`))
  t.is(asked.length, 0)
  await settle(1)
  t.is(asked.length, 8)
  for (let i = 0; i < 10; i++) await pass()
  t.is(asked.length, 508)
  watch.close()
})
