// The sockets of path probes on the real kernel: two wires of this process, whose namespaces a pair of links joins.
import test, { type ExecutionContext } from 'ava'
import { openProbeWire, type ProbeWire } from '../../../agent/probes/wire.ts'
import { openEchoSocket } from '../../../kernel/echo-socket.ts'
import { openKernel } from '../../../kernel/linux/kernel.ts'
import { addNetns, netnsPath, removeNetns } from '../../../kernel/netns.ts'
import type { Kernel } from '../../../kernel/port/kernel.ts'
import { addressBits, familyOf } from '../../../lib/ip.ts'
import { ANSWER_MS } from '../../slowness.ts'

const asRoot = process.getuid?.() === 0 ? test.serial : test.serial.skip

const ENDS = {
  one: { addresses: ['192.0.2.1', '2001:db8::1'], mac: '02:00:00:00:00:01' },
  two: { addresses: ['192.0.2.2', '2001:db8::2'], mac: '02:00:00:00:00:02' },
} as const

type World = { one: ProbeWire; two: ProbeWire; inside: Record<'one' | 'two', Kernel>; close(): void }

let world: World

test.before(async () => {
  if (process.getuid?.() !== 0) return
  const [one, two] = [openProbeWire(), openProbeWire()]
  const host = openKernel()
  const inside = { one: host.inside(one.netns), two: host.inside(two.netns) }
  await inside.one.createLink({
    kind: 'veth',
    name: 'eth0',
    mac: ENDS.one.mac,
    peer: { name: 'eth0', netns: two.netns, mac: ENDS.two.mac },
  })
  for (const end of ['one', 'two'] as const) {
    const link = (await inside[end].link('eth0'))!
    inside[end].writeSysctl('ipv6', ['conf', 'eth0', 'accept_dad'], '0')
    for (const address of ENDS[end].addresses)
      await inside[end].addAddress({
        ifindex: link.index,
        address,
        length: addressBits(familyOf(address)) - 8,
        scope: 0,
        noDad: true,
      })
    await inside[end].setLink('eth0', { up: true })
  }
  one.use(ENDS.one.addresses)
  two.use(ENDS.two.addresses)
  const close = () => {
    for (const each of [inside.one, inside.two, host, one, two]) each.close()
  }
  world = { one, two, inside, close }
})
test.after.always(() => world?.close())

/** What arrives at a wire until something does, or for as long as an answer may take. */
async function arrivals(wire: ProbeWire, limitMs = ANSWER_MS) {
  const seen: string[] = []
  const endMs = performance.now() + limitMs
  do {
    wire.drain({
      answered: (look, kind) => seen.push(`answer ${look} ${kind}`),
      asked: (family, claimed, source) => seen.push(`${family} asked as ${claimed} from ${source}`),
    })
    if (seen.length === 0) await new Promise(resolve => setTimeout(resolve, 5))
  } while (seen.length === 0 && performance.now() < endMs)
  return seen
}

/** Sends until it is answered: the first packet may find no neighbour yet. */
async function answered(t: ExecutionContext, address: string, look: number): Promise<string[]> {
  for (let tries = 0; tries < 20; tries++) {
    t.true(world.one.send({ kind: 'pod', address, look }))
    const seen = await arrivals(world.one, ANSWER_MS / 20)
    if (seen.length > 0) return seen
  }
  return []
}

asRoot(
  'a probe is answered by the kernel at the other end, which sees under which address it was sent, in both families',
  async t => {
    for (const [i, family] of (['ipv4', 'ipv6'] as const).entries()) {
      const [from, to] = [ENDS.one.addresses[i]!, ENDS.two.addresses[i]!]
      t.is((await answered(t, to, 70_000 + i))[0], `answer ${70_000 + i} pod`)
      t.is((await arrivals(world.two))[0], `${family} asked as ${from} from ${from}`)
    }
  },
)

asRoot('echoes and answers of anybody else are not received', async t => {
  await answered(t, ENDS.two.addresses[0], 1)
  await arrivals(world.two)
  const stranger = openEchoSocket('ipv4', {
    ...{ netns: world.one.netns, receives: 'reply', holding: { offset: 0, octets: Buffer.from('anybody!') } },
  })
  t.teardown(() => stranger.close())
  t.true(stranger.send(ENDS.two.addresses[0], 7, Buffer.from('anybody!'.repeat(5))))
  let mine = 0
  for (const endMs = performance.now() + ANSWER_MS; mine === 0 && performance.now() < endMs; ) {
    stranger.drain(() => mine++)
    await new Promise(resolve => setTimeout(resolve, 5))
  }
  t.is(mine, 1, 'the other end answers everybody')
  t.deepEqual(await arrivals(world.one, 100), [])
  t.deepEqual(await arrivals(world.two, 100), [])
})

asRoot('a packet of a size goes whole or not at all, in both families', async t => {
  // what the other end takes, of which this one knows nothing
  await world.inside.two.setLink('eth0', { mtu: 1300 })
  t.teardown(() => world.inside.two.setLink('eth0', { mtu: 1500 }))
  for (const [i, address] of ENDS.two.addresses.entries()) {
    await answered(t, address, 80_000 + i)
    // of IPv6 the kernel says where a link of this machine drops it
    world.one.send({ kind: 'size', address, look: 80_010 + i, octets: 1400 })
    t.true(world.one.send({ kind: 'size', address, look: 80_020 + i, octets: 1300 }))
    t.deepEqual(await arrivals(world.one), [`answer ${80_020 + i} size`])
    t.deepEqual(await arrivals(world.one, 50), [])
    t.false(world.one.send({ kind: 'size', address, look: 80_030 + i, octets: 1600 }), 'larger than its own link')
  }
  await arrivals(world.two)
})

asRoot('without an address of the family nothing is sent', async t => {
  const wire = openProbeWire()
  t.false(wire.send({ kind: 'pod', address: ENDS.two.addresses[0], look: 1 }))
  wire.close()
})

asRoot('where there is no way a packet is as lost as on the way', t => {
  t.true(world.one.send({ kind: 'pod', address: '198.51.100.1', look: 1 }))
})

asRoot('the namespace ends with the wire, and its links with it', async t => {
  const name = `margay-wire-${process.pid}`
  addNetns(name)
  t.teardown(() => removeNetns(name))
  const host = openKernel()
  const node = host.inside(netnsPath(name))
  const wire = openProbeWire()
  await node.createLink({ kind: 'veth', name: 'caliprobe', peer: { name: 'eth0', netns: wire.netns } })
  t.truthy(await node.link('caliprobe'))
  wire.close()
  for (const endMs = performance.now() + ANSWER_MS; performance.now() < endMs; ) {
    if ((await node.link('caliprobe')) === undefined) break
    await new Promise(resolve => setTimeout(resolve, 5))
  }
  t.is(await node.link('caliprobe'), undefined)
  node.close()
  host.close()
})
