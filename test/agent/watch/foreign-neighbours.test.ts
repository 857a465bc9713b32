// Which permanent neighbour entries of other programs are told, by what the machines of the link answer.
import test from 'ava'
import { ForeignNeighbours } from '../../../agent/watch/foreign-neighbours.ts'
import { LinkAsker } from '../../../agent/watch/link-asker.ts'
import type { Condition } from '../../../api/status.ts'
import { FakeWorld } from '../../../kernel/fake/world.ts'
import type { LinkQuestion } from '../../../kernel/link-question.ts'
import type { KernelEvent } from '../../../kernel/port/kernel.ts'
import { ManualClock } from '../../../lib/clock.ts'
import { settle } from '../../bgp/settle.ts'

const [N2, N2_IPV6, GATEWAY, STRANGER] = ['192.0.2.12', '2001:db8::12', '192.0.2.1', '192.0.2.77']
const [RIGHT, WRONG, OTHER] = ['02:00:00:00:00:12', '02:00:00:00:00:99', '02:00:00:00:00:13']

/** A node on a link whose machines answer to the MACs by which they have an address. */
async function aNode(machines: Record<string, readonly string[]>) {
  const world = new FakeWorld()
  const kernel = world.kernel()
  let isDeaf = false
  const heard = {
    neighbours: () => kernel.neighbours(),
    link: (of: string | number) => kernel.link(of),
    monitor: (listen: (event: KernelEvent) => void) => kernel.monitor(event => !isDeaf && listen(event)),
    authorText: () => undefined,
  }
  const clock = new ManualClock()
  const { index: eth0 } = await kernel.createLink({ kind: 'dummy', name: 'eth0' })
  await kernel.setLink('eth0', { up: true })
  await kernel.addAddress({ ifindex: eth0, address: 'fe80::11', length: 64, scope: 253 })
  const asked: LinkQuestion[] = []
  const ask = async (question: LinkQuestion) => {
    asked.push(question)
    const macs = machines[question.address] ?? []
    return question.to === undefined ? [...macs] : macs.filter(mac => mac === question.to)
  }
  let looks = 0
  let told: readonly Condition[] = []
  const uses: Record<string, string> = {
    [N2]: 'the address of node n2',
    [N2_IPV6]: 'the address of node n2',
    [GATEWAY]: 'the default gateway of this node',
  }
  const watch = new ForeignNeighbours({
    ...{
      kernel: Object.assign(Object.create(kernel), heard),
      clock,
      asker: new LinkAsker({ kernel, ask, clock }),
      uses() {
        looks++
        return address => uses[address]
      },
    },
    report: conditions => (told = conditions),
  })
  const pass = async (ms: number) => {
    await settle(12)
    clock.advance(ms)
    await settle(12)
  }
  const set = (address: string, mac: string, ifindex = eth0) =>
    kernel.setNeighbour({ ifindex, address, mac, permanent: true })
  const lose = (deaf: boolean) => (isDeaf = deaf)
  return { world, kernel, lose, clock, eth0, asked, watch, pass, set, told: () => told, uses, looks: () => looks }
}

for (const address of [N2, N2_IPV6])
  test(`an entry that gives ${address} of a node the MAC of nobody is told in a moment, with the right MAC, until it is gone`, async t => {
    const { kernel, clock, eth0, watch, pass, set, told } = await aNode({ [address]: [RIGHT] })
    watch.start()
    await pass(1000)
    await set(address, WRONG)
    await pass(200)
    const [condition, ...others] = told()
    t.deepEqual(others, [])
    t.like(condition, { type: 'NeighboursRight', status: 'False', reason: 'ForeignNeighbour' })
    t.deepEqual(condition?.object, { kind: 'Neighbour', name: `${address} eth0` })
    for (const part of [address, 'node n2', WRONG, RIGHT]) t.true(condition?.message.includes(part), condition?.message)
    t.regex(condition!.remedy, /^if 02:00:00:00:00:12 is the right machine, remove/)
    t.true(condition?.remedy.includes(`neigh del ${address} dev eth0`))
    await kernel.deleteNeighbour({ ifindex: eth0, address, permanent: true })
    await pass(200)
    t.deepEqual(told(), [])
    watch.close()
    t.is(clock.pending, 0)
  })

for (const [what, address, mac, answers] of [
  ['the right MAC', N2, RIGHT, [RIGHT]],
  ['one of two cards of a node in the network, of which both answer', N2, RIGHT, [OTHER, RIGHT]],
  ['a node that is away', N2, WRONG, []],
  ['a gateway by the MAC of VRRP', GATEWAY, '00:00:5e:00:01:01', ['00:00:5e:00:01:01']],
  ['a gateway of a cloud that answers for all', N2, '42:01:0a:80:00:01', ['42:01:0a:80:00:01']],
  ['a machine that is no business of the cluster', STRANGER, WRONG, [RIGHT]],
] as const)
  test(`silent: ${what}`, async t => {
    const { watch, pass, set, told } = await aNode({ [address]: answers })
    await set(address, mac)
    watch.start()
    await pass(200)
    await pass(60_000)
    t.deepEqual(told(), [])
    watch.close()
  })

test('silent: entries that the kernel found by itself, those on devices of ours, and of a link that is down', async t => {
  const { kernel, eth0, asked, watch, pass, set, told } = await aNode({ [N2]: [RIGHT] })
  const { index: vxlan } = await kernel.createLink({ kind: 'dummy', name: 'vxlan.calico' })
  await kernel.setLink('vxlan.calico', { up: true })
  await set(N2, WRONG, vxlan)
  await kernel.setNeighbour({ ifindex: eth0, address: N2, mac: WRONG, permanent: false })
  watch.start()
  await pass(200)
  t.deepEqual(asked, [])
  await kernel.setLink('eth0', { up: false })
  await set(N2, WRONG)
  await pass(200)
  t.deepEqual([asked, told()], [[], []])
  watch.close()
})

test('an entry that becomes wrong, as the machine got another card or became a node, is told within a minute', async t => {
  const machines = { [STRANGER]: [RIGHT] }
  const { watch, pass, set, told, uses } = await aNode(machines)
  await set(STRANGER, RIGHT)
  watch.start()
  await pass(200)
  uses[STRANGER] = 'the address of node n7'
  machines[STRANGER] = [OTHER]
  await pass(60_000)
  t.is(told()[0]?.object?.name, `${STRANGER} eth0`)
  machines[STRANGER] = [RIGHT]
  await pass(5000)
  t.deepEqual(told(), [])
  watch.close()
})

test('an entry that is written again and again keeps none of the others from being told', async t => {
  const { watch, pass, set, told } = await aNode({ [N2]: [RIGHT] })
  watch.start()
  await pass(1000)
  await set(N2, WRONG)
  for (let i = 0; i < 10; i++) {
    await set(STRANGER, i % 2 === 0 ? RIGHT : OTHER)
    await pass(50)
  }
  t.is(told()[0]?.object?.name, `${N2} eth0`)
  watch.close()
})

test('of a thousand entries it is found out once what this node reaches', async t => {
  const { kernel, watch, pass, set, looks } = await aNode({})
  const asked: (string | number)[] = []
  kernel.link = async of => {
    asked.push(of)
    return undefined
  }
  for (let i = 0; i < 1000; i++) await set(`198.51.${100 + (i >> 8)}.${i & 255}`, WRONG)
  watch.start()
  await pass(200)
  t.deepEqual([looks(), asked], [1, []])
  watch.close()
})

test('what changed while events were lost is read', async t => {
  const { world, kernel, eth0, watch, pass, set, told, lose } = await aNode({ [N2]: [RIGHT] })
  watch.start()
  await pass(200)
  lose(true)
  await set(N2, WRONG)
  await pass(1000)
  t.deepEqual(told(), [])
  lose(false)
  world.overrun()
  await pass(200)
  t.is(told().length, 1)
  lose(true)
  await kernel.deleteNeighbour({ ifindex: eth0, address: N2, permanent: true })
  lose(false)
  world.overrun()
  await pass(200)
  t.deepEqual(told(), [])
  watch.close()
})
